"""Translates the farm's stream: its events to messages, and its cursors both ways."""

from collections.abc import Iterator
from typing import Final, assert_never

from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_controller.fleet.farm_watch import (
    Change,
    FarmChanges,
    FarmCursor,
    IncidentChange,
    ProcessChange,
)
from phonefarm_controller.fleet.phones import PhoneView
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.rpc.fleet_convert import incident_to_wire, phone_to_wire
from phonefarm_controller.rpc.wire import cursor_parts, cursor_to_wire, moment_to_wire

LONGEST_CURSOR: Final = 256
LARGEST: Final = 2**63 - 1


def events_to_wire(found: FarmChanges) -> Iterator[pb.FarmEvent]:
    """Yield a message for each change, one for none; the last has the cursor."""
    cursor = cursor_of(found.cursor)
    if found.reset is not None:
        yield pb.FarmEvent(cursor=cursor, reset=pb.FarmReset(reason=found.reset))
    elif not found.changes:
        yield pb.FarmEvent(cursor=cursor)
    last = len(found.changes) - 1
    for index, change in enumerate(found.changes):
        yield _event(change, cursor=cursor if index == last else "")


def _event(change: Change, *, cursor: str) -> pb.FarmEvent:
    match change:
        case PhoneView():
            return pb.FarmEvent(cursor=cursor, phone=phone_to_wire(change))
        case ProcessChange():
            return pb.FarmEvent(cursor=cursor, process=_process(change))
        case IncidentChange():
            incident = incident_to_wire(change.agent_id, change.incident)
            return pb.FarmEvent(cursor=cursor, incident=incident)
        case _:
            assert_never(change)


def _process(change: ProcessChange) -> pb.ProcessChange:
    process, newest = change.process, change.newest
    return pb.ProcessChange(
        process_id=process.process_id,
        process_type=process.process_type,
        request_id=process.request_id or "",
        system=process.system,
        status=process.status,
        created_at=moment_to_wire(process.created_at),
        finished_at=moment_to_wire(process.finished_at),
        at=moment_to_wire(newest.at),
        queue_item_id=newest.item_id or "",
        to_state=newest.to_state,
        actor=newest.actor,
        reason=newest.reason,
        phone_id=change.phone_id or "",
        account_id=change.account_id or "",
    )


def cursor_of(place: FarmCursor) -> str:
    """Return the place as text without spaces, which one line of a stream can hold."""
    return cursor_to_wire(place.at, place.number, place.reader, place.version)


def place_of(cursor: str) -> FarmCursor | None:
    """Return the place a cursor names, None for ''; FarmError for what is none of ours."""
    if not cursor:
        return None
    message = "is not a cursor of this stream; omit it to begin with the current state"
    try:
        if len(cursor) > LONGEST_CURSOR:
            raise ValueError(cursor)  # noqa: TRY301 - one error for all that are not ours
        at, number, reader, version = cursor_parts(cursor, int, str, int)
    except ValueError as error:
        raise invalid_field("after", message) from error
    if not all(0 <= each <= LARGEST for each in (number, version)):
        raise invalid_field("after", message)
    return FarmCursor(number=number, at=at, reader=reader, version=version)
