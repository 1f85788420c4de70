"""Takes the phones of the farm's own agent into service; gives each simulated one an account."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.terminal import echo, note, warn
from phonefarm_cli.up_file import UpFilePhone

APP = "shortvideo"
OFFER_SECONDS = 30.0
_STARTING_POLL_SECONDS = 0.1
_RUNNING_POLL_SECONDS = 2.0


def account_name(serialno: str) -> str:
    """Return the account of a simulated phone: sim-0001 for SIM0001."""
    return f"sim-{serialno.removeprefix('SIM').lower()}"


@dataclass(kw_only=True)
class PhoneOnboarding:
    """Admits the phones of one agent and gives simulated ones an account."""

    controller: ControllerClient
    agent_id: str
    simulated: Mapping[str, str]  # serial number -> HOST:PORT
    connected: Iterable[str]  # HOST:PORT of phones that are not simulated
    patience: float = OFFER_SECONDS
    phones: tuple[UpFilePhone, ...] = field(default=(), init=False)

    async def wait_until_settled(self) -> None:
        """Take phones into service until all that are known are offered or have work.

        It does not wait for a phone that only an operator can bring back, nor longer than
        *patience* seconds for one that is missing. It warns of both, with the reason.
        """
        addresses = {*self.simulated.values(), *self.connected}
        known = (
            await self._known()
        )  # without a time limit: the warnings below need the first answer
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                while not all(a in known and _is_settled(known[a]) for a in addresses):
                    await asyncio.sleep(_STARTING_POLL_SECONDS)
                    known = await self._known()
        for address in sorted(addresses):
            if address not in known:
                warn(
                    f"no phone answers at {address} yet; the farm admits the phone when it answers"
                )
            elif not _is_usable(known[address]):
                warn(_why_not(known[address]))

    async def refreshes(self) -> AsyncGenerator[None, None]:
        """Refresh for ever, to admit phones that come later; yield after each time."""
        while True:
            await asyncio.sleep(_RUNNING_POLL_SECONDS)
            try:
                await self.refresh()
            except UnreachableError:
                continue  # ChildProcesses watches the controller
            yield

    async def _known(self) -> dict[str, fleet_pb2.Phone]:
        return {phone.adb_serial: phone for phone in await self.refresh()}

    async def refresh(self) -> list[fleet_pb2.Phone]:
        """Admit new phones and return all phones of the agent."""
        ours = [p for p in await self.controller.phones() if p.agent_id == self.agent_id]
        accounts = await self.controller.accounts()
        bound = {account.phone_id for account in accounts}
        changed = False
        for phone in ours:
            if phone.intent == "new":
                changed = True
                request = fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id)
                await self.controller.call(self.controller.fleet.AdmitPhone, request)
                note(f"  admitted {phone.phone_id}: {phone.model or 'a phone'} {phone.adb_serial}")
            if phone.serialno in self.simulated and phone.phone_id not in bound:
                changed = True
                account = fleet_pb2.Account(
                    account_id=account_name(phone.serialno),
                    phone_id=phone.phone_id,
                    app=APP,
                    active=True,
                )
                put = fleet_pb2.PutAccountRequest(account=account)
                accounts.append(await self.controller.call(self.controller.fleet.PutAccount, put))
                note(f"  gave {phone.phone_id} the account {account.account_id} of {APP}")
        self.phones = tuple(_up_file_phone(phone, accounts) for phone in ours)
        return await self.refresh() if changed else ours


def echo_phones(phones: Iterable[UpFilePhone]) -> None:
    """Print the phones, the first six by name."""
    listed = [f"{phone.phone_id} ({phone.account_id or 'no account'})" for phone in phones]
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    echo(f"  phones       {', '.join(listed[:6]) or 'none yet'}{more}")


def _up_file_phone(phone: fleet_pb2.Phone, accounts: list[fleet_pb2.Account]) -> UpFilePhone:
    own = [a.account_id for a in accounts if a.active and a.phone_id == phone.phone_id]
    return UpFilePhone(
        phone_id=phone.phone_id,
        serialno=phone.serialno,
        serial=phone.adb_serial,
        account_id=own[0] if len(own) == 1 else "",
    )


def _is_usable(phone: fleet_pb2.Phone) -> bool:
    """Tell whether the phone can get work or has some."""
    return phone.offered or phone.lease in {"leased", "releasing"}


def _is_settled(phone: fleet_pb2.Phone) -> bool:
    """Tell whether waiting longer would change nothing."""
    out_of_service = phone.health in {"quarantined", "retired"} or phone.intent in {
        "maintenance",
        "draining",
    }
    return _is_usable(phone) or out_of_service


def _why_not(phone: fleet_pb2.Phone) -> str:
    reasons = [phone.health, phone.health_reason] if phone.health not in {"", "good"} else []
    reasons += [f"lease {phone.lease}"] if phone.lease != "free" else []
    reasons += [phone.readiness_reason] if phone.readiness_reason else []
    reasons += [phone.intent] if phone.intent != "in_service" else []
    why = ", ".join(reason for reason in reasons if reason) or "its shell does not answer"
    remedy = (
        f"; `phonefarm phones return {phone.phone_id} --reason TEXT` ends a quarantine"
        if phone.health == "quarantined"
        else ""
    )
    return f"{phone.phone_id} is not offered: {why}{remedy}"
