"""Endpoints of phones: list and show them, take them in and out of service, hold one."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from phonefarm.schemas import examples, farm
from phonefarm.schemas.farm_requests import (
    Because,
    HoldPhone,
    PerhapsBecause,
    ReleasePhone,
)
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

TAG: Final = "Phones"
_PHONE: Final = {HTTPStatus.OK: ResponseSpec(about="The phone as it is now.", models=(farm.Phone,))}
_HOLD: Final = {HTTPStatus.OK: ResponseSpec(about="The hold as it is now.", models=(farm.Hold,))}


async def list_phones(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every phone."""
    return reply(await call.controller.fleet.phones(call.key))


async def get_phone(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return everything that is known of a phone."""
    return reply(await call.controller.fleet.phone(call.key, call.path["phone_id"]))


async def list_needs_hands(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return what a person must do."""
    return reply(await call.controller.fleet.needs_hands(call.key))


async def admit(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """Take a phone into service."""
    fleet = call.controller.fleet
    return reply(await fleet.admit(call.key, call.path["phone_id"], call.body.reason))


async def return_phone(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """End a quarantine or a dirty state."""
    fleet = call.controller.fleet
    return reply(await fleet.return_phone(call.key, call.path["phone_id"], call.body.reason))


async def maintain(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Give a phone no more work until it is admitted."""
    fleet = call.controller.fleet
    return reply(await fleet.maintain(call.key, call.path["phone_id"], call.body.reason))


async def retire(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Take a phone out of the farm."""
    fleet = call.controller.fleet
    return reply(await fleet.retire(call.key, call.path["phone_id"], call.body.reason))


async def drain(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Give a phone no more work; what runs goes on."""
    operator = call.controller.operator
    return reply(await operator.drain_phone(call.key, call.path["phone_id"], call.body.reason))


async def release(call: Call[NoQuery, ReleasePhone]) -> web.StreamResponse:
    """Take a phone from the run that drives it."""
    operator = call.controller.operator
    return reply(await operator.release(call.key, call.path["phone_id"], call.body))


async def hold(call: Call[NoQuery, HoldPhone]) -> web.StreamResponse:
    """Reserve a phone for a person."""
    operator = call.controller.operator
    return reply(await operator.hold(call.key, call.path["phone_id"], call.body))


async def unhold(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """Give a held phone back."""
    operator = call.controller.operator
    return reply(await operator.unhold(call.key, call.path["phone_id"], call.body.reason))


async def get_hold(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return a hold as it is."""
    return reply(await call.controller.operator.get_hold(call.key, call.process_id))


def _change(
    verb: str,
    *,
    name: str,
    summary: str,
    about: str = "",
    body: Any = Because,
    example: dict[str, Any] | None = examples.BECAUSE,
    conflicts: str = "",
    answers: dict[HTTPStatus, ResponseSpec] = _PHONE,
    handler: Callable[[Call[NoQuery, Any]], Awaitable[web.StreamResponse]],
) -> Endpoint[NoQuery, Any]:
    """Return the endpoint of a verb that changes one phone."""
    return Endpoint(
        method="POST",
        path=f"/phones/{{phone_id}}/{verb}",
        name=name,
        tag=TAG,
        summary=summary,
        about=about,
        scope="operate",
        query=NoQuery,
        body=body,
        body_optional=body is PerhapsBecause,
        example=example,
        answers=answers,
        problems={HTTPStatus.CONFLICT: conflicts} if conflicts else {},
        handler=handler,
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/phones",
        name="listPhones",
        tag=TAG,
        summary=(
            "List the phones, with their status, the reasons why they get no work, and their "
            "current processes"
        ),
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="All phones, with counts.", models=(farm.PhoneList,))
        },
        handler=list_phones,
    ),
    Endpoint(
        method="GET",
        path="/phones/{phone_id}",
        name="getPhone",
        tag=TAG,
        summary="Read everything that the farm knows about a phone",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The phone's status, readiness, failures, host, recovery steps and audit.",
                models=(farm.PhoneDetails,),
            )
        },
        handler=get_phone,
    ),
    Endpoint(
        method="GET",
        path="/needs-hands",
        name="listNeedsHands",
        tag=TAG,
        summary="List what a person must do at phones",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The tasks, ordered by host and phone.", models=(farm.HandsNeededList,)
            )
        },
        handler=list_needs_hands,
    ),
    _change(
        "admit",
        name="admitPhone",
        summary="Take a phone into service, and end its maintenance or drain",
        body=PerhapsBecause,
        handler=admit,
    ),
    _change(
        "return",
        name="returnPhone",
        summary="End a phone's quarantine or dirty state after somebody has checked it",
        about="The call also takes a retired phone back into the farm.",
        handler=return_phone,
    ),
    _change(
        "drain",
        name="drainPhone",
        summary="Start no more runs on a phone; a run in progress continues",
        about="To give the phone work again, admit it.",
        conflicts="`state_conflict:<state>`: the phone already gets no work",
        handler=drain,
    ),
    _change(
        "maintain",
        name="maintainPhone",
        summary="Give a phone no work until you admit it again",
        handler=maintain,
    ),
    _change(
        "release",
        name="releasePhone",
        summary="Take a phone from the run that drives it",
        about=(
            "Use this call if a run does not stop; first try to cancel its process. `epoch` "
            "identifies the lease: if the phone has another lease by now, the call changes "
            "nothing."
        ),
        body=ReleasePhone,
        example=None,
        conflicts="`state_conflict:` followed by free, releasing, dirty or epoch_<n>",
        handler=release,
    ),
    _change(
        "hold",
        name="holdPhone",
        summary="Reserve a phone for a person, with adb access",
        about=(
            "The hold begins when the phone's current run ends, before all other work. Read the "
            "hold until its state is EXECUTING. Its `address` field then contains the address of "
            "the hold's adb server."
        ),
        body=HoldPhone,
        example=examples.HOLD,
        conflicts="`state_conflict:held`, `agent_too_old`",
        answers=_HOLD,
        handler=hold,
    ),
    _change(
        "unhold",
        name="unholdPhone",
        summary="Give a held phone back at once",
        body=PerhapsBecause,
        conflicts="`state_conflict:not_held`",
        answers=_HOLD,
        handler=unhold,
    ),
    _change(
        "retire",
        name="retirePhone",
        summary="Remove a phone from the farm; work that can use only this phone ends",
        handler=retire,
    ),
    Endpoint(
        method="GET",
        path="/holds/{process_id}",
        name="getHold",
        tag=TAG,
        summary="Read a hold",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers=_HOLD,
        handler=get_hold,
    ),
)
