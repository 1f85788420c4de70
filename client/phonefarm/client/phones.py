"""Shows phones, and does what operators do to them."""

from typing import Literal

from phonefarm.client.transport import Transport, place
from phonefarm.schemas import farm, farm_requests, screens
from phonefarm.schemas.fields import RequestModel


class AsyncPhones:
    """Phones: what they do, and who may use them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> farm.PhoneList:
        """Return every phone, and how many are offered, at work and withheld."""
        return await self._transport.send("GET", "/phones", farm.PhoneList)

    async def get(self, phone_id: str) -> farm.PhoneDetails:
        """Return everything that is known of a phone; NotFoundError if there is none."""
        return await self._transport.send("GET", _at(phone_id), farm.PhoneDetails)

    async def needing_hands(self) -> farm.HandsNeededList:
        """Return what a person must do at which phone."""
        return await self._transport.send("GET", "/needs-hands", farm.HandsNeededList)

    async def admit(self, phone_id: str, *, reason: str = "") -> farm.Phone:
        """Give a phone work from now on (scope operate)."""
        return await self._put(phone_id, "admit", farm_requests.PerhapsBecause(reason=reason))

    async def return_(self, phone_id: str, *, reason: str) -> farm.Phone:
        """End a phone's quarantine or dirty state after somebody has checked it (scope operate)."""
        return await self._put(phone_id, "return", farm_requests.Because(reason=reason))

    async def drain(self, phone_id: str, *, reason: str) -> farm.Phone:
        """Give a phone no new runs; the present one goes on (scope operate)."""
        return await self._put(phone_id, "drain", farm_requests.Because(reason=reason))

    async def maintain(self, phone_id: str, *, reason: str) -> farm.Phone:
        """Take a phone out of service until it is admitted again (scope operate)."""
        return await self._put(phone_id, "maintain", farm_requests.Because(reason=reason))

    async def retire(self, phone_id: str, *, reason: str) -> farm.Phone:
        """Take a phone out of the farm (scope operate)."""
        return await self._put(phone_id, "retire", farm_requests.Because(reason=reason))

    async def release(self, phone_id: str, *, epoch: int, reason: str) -> farm.Phone:
        """Take a phone away from the run that has it (scope operate).

        *epoch* is the phone's `lease_epoch`; ConflictError if another lease holds it by now.
        """
        body = farm_requests.ReleasePhone(epoch=epoch, reason=reason)
        return await self._put(phone_id, "release", body)

    async def hold(
        self, phone_id: str, *, reason: str, seconds: int = 1800, wait_seconds: int = 600
    ) -> farm.Hold:
        """Reserve a phone for a person (scope operate).

        The hold lasts *seconds* (60 to 10,800), and waits up to *wait_seconds* for the phone. This
        request is not repeated by itself. Follow it with `get_hold`.
        """
        body = farm_requests.HoldPhone(reason=reason, seconds=seconds, wait_seconds=wait_seconds)
        path = f"{_at(phone_id)}/hold"
        return await self._transport.send("POST", path, farm.Hold, body=body, repeatable=False)

    async def unhold(self, phone_id: str, *, reason: str = "") -> farm.Hold:
        """End the hold of a phone (scope operate)."""
        body = farm_requests.PerhapsBecause(reason=reason)
        return await self._transport.send("POST", f"{_at(phone_id)}/unhold", farm.Hold, body=body)

    async def get_hold(self, process_id: str) -> farm.Hold:
        """Return the hold that `hold` has begun, by its process."""
        return await self._transport.send("GET", place("/holds/{of}", of=process_id), farm.Hold)

    async def still(self, phone_id: str, *, format: Literal["jpeg", "png"] = "jpeg") -> bytes:  # noqa: A002 - the parameter's name in REST
        """Return a picture of the screen (scope watch); ConflictError if it cannot be taken."""
        path = f"{_at(phone_id)}/still"
        return await self._transport.read("GET", path, query={"format": format})

    async def inspect(self, phone_id: str) -> screens.Inspection:
        """Return a picture of the screen and the elements on it (scope watch)."""
        path = f"{_at(phone_id)}/inspection"
        return await self._transport.send("GET", path, screens.Inspection)

    async def _put(self, phone_id: str, verb: str, body: RequestModel) -> farm.Phone:
        return await self._transport.send("POST", f"{_at(phone_id)}/{verb}", farm.Phone, body=body)


def _at(phone_id: str) -> str:
    return place("/phones/{phone}", phone=phone_id)
