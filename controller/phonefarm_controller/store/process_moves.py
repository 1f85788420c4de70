"""The transitions of all processes in the order of their numbers, for watchers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select

from phonefarm_controller.model.states import PUBLIC, ProcessState, PublicStatus
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.store.bulk_writes import in_parts
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.work import capability_requests, transitions

_t, _p = transitions.c, capability_requests.c
_COLUMNS = [transitions.c[name] for name in Transition.__dataclass_fields__]
_SUMMARY: Final = (
    _p.process_id,
    _p.process_type,
    _p.request_id,
    _p.system,
    _p.state,
    _p.created_at,
    _p.finished_at,
)
MOST_MISSING: Final = 1000
"""One call looks for at most this many numbers."""


@dataclass(frozen=True, kw_only=True)
class ProcessSummary:
    """A process as one line of a list."""

    process_id: str
    process_type: str
    request_id: str | None
    system: str
    status: PublicStatus
    created_at: datetime
    finished_at: datetime | None


async def newest_number(tx: Transaction) -> int:
    """Return the highest number of a transition, 0 when there is none."""
    number: int | None = (await tx.connection.execute(select(func.max(_t.number)))).scalar_one()
    return number or 0


async def following(tx: Transaction, *, after: int, limit: int) -> list[Transition]:
    """Return at most *limit* transitions behind number *after*, by number."""
    return await _where(tx, _t.number > after, limit=limit)


async def with_numbers(tx: Transaction, numbers: Iterable[int]) -> list[Transition]:
    """Return the transitions with these numbers (MOST_MISSING at most) that are there by now."""
    wanted = sorted(numbers)[:MOST_MISSING]
    return await _where(tx, _t.number.in_(wanted), limit=MOST_MISSING) if wanted else []


async def summaries(tx: Transaction, process_ids: Iterable[str]) -> dict[str, ProcessSummary]:
    """Return what a list says of these processes; unknown ones are missing."""
    found = {}
    for part in in_parts(process_ids):
        rows = await tx.connection.execute(select(*_SUMMARY).where(_p.process_id.in_(part)))
        for row in rows:
            values = row._asdict()
            status = PUBLIC[ProcessState(values.pop("state"))]
            found[row.process_id] = ProcessSummary(status=status, **values)
    return found


async def _where(
    tx: Transaction, condition: ColumnElement[bool], *, limit: int
) -> list[Transition]:
    query = select(*_COLUMNS).where(condition).order_by(_t.number).limit(limit)
    return [Transition(**row._asdict()) for row in await tx.connection.execute(query)]
