"""Reads the filters, limits and cursors of lists; clients do not interpret cursors."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from phonefarm.v1 import process_pb2 as pb
from phonefarm_common.ids import is_uuid

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.states import PUBLIC, ProcessState, PublicStatus
from phonefarm_controller.rpc.wire import cursor_parts, cursor_to_wire, moment_of
from phonefarm_controller.store.audit import Entry
from phonefarm_controller.store.process_search import PageEnd, ProcessFilter

DEFAULT_LIMIT: Final = 50
MOST_LIMIT: Final = 500
_PREFIX: Final = re.compile(r"[0-9a-f-]{4,36}")
_NO_CURSOR: Final = "is not a cursor that this list returned; omit it to get the first page"


def filter_of(request: pb.ListProcessesRequest) -> ProcessFilter:
    """Return the filter; FarmError names the field that is wrong."""
    return ProcessFilter(
        states=_states(request.statuses),
        process_types=tuple(request.process_types),
        system=request.system,
        request_id=request.request_id,
        account_id=request.account_id,
        phone_id=request.phone_id,
        created_from=moment_of("created_from", request.created_from)
        if request.HasField("created_from")
        else None,
        created_before=moment_of("created_before", request.created_before)
        if request.HasField("created_before")
        else None,
        process_id_prefix=_prefix(request.process_id_prefix),
    )


def _prefix(text: str) -> str:
    if text and not _PREFIX.fullmatch(text.lower()):
        raise invalid_field("process_id_prefix", "must be 4 to 36 characters of 0-9, a-f and -")
    return text.lower()


def limit_of(request: pb.ListProcessesRequest) -> int:
    """Return how many a page may have; FarmError when that is out of bounds."""
    limit = request.limit or DEFAULT_LIMIT
    if not 1 <= limit <= MOST_LIMIT:
        raise invalid_field("limit", f"must be between 1 and {MOST_LIMIT}")
    return limit


def cursor_of(place: PageEnd | None) -> str:
    """Return the place as a cursor, '' for none."""
    return "" if place is None else cursor_to_wire(place.created_at, place.process_id)


def page_end_of(cursor: str) -> PageEnd | None:
    """Return the place a cursor names, None for ''; FarmError for what is none of ours."""
    place = _place_of(cursor)
    if place is None:
        return None
    created_at, process_id = place
    if not is_uuid(process_id):
        raise invalid_field("cursor", _NO_CURSOR)
    return PageEnd(created_at=created_at, process_id=process_id)


def audit_cursor_of(entries: Sequence[Entry], *, more: bool) -> str:
    """Return the cursor of the page after *entries*, '' when there are no more."""
    return cursor_to_wire(entries[-1].at, entries[-1].audit_id) if more else ""


def audit_place_of(cursor: str) -> tuple[datetime, str] | None:
    """Return moment and id of the entry that a cursor names, None for ''; FarmError as above."""
    return _place_of(cursor)


def _place_of(cursor: str) -> tuple[datetime, str] | None:
    if not cursor:
        return None
    try:
        at, name = cursor_parts(cursor, str)
    except ValueError as error:
        raise invalid_field("cursor", _NO_CURSOR) from error
    return at, name


def _states(statuses: Iterable[str]) -> tuple[ProcessState, ...]:
    known = [str(status) for status in PublicStatus]
    for status in statuses:
        if status not in known:
            raise invalid_field("statuses", f"must contain only: {', '.join(known)}")
    return tuple(state for state, public in PUBLIC.items() if str(public) in set(statuses))
