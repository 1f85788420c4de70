"""Finds and removes what retention does not keep, a few rows at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    delete,
    exists,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)

from phonefarm_controller.model.states import PROCESS_TERMINAL
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.delivery import deliveries, delivery_attempts
from phonefarm_controller.store.schema.types import Instant, SafeText
from phonefarm_controller.store.schema.work import (
    action_results,
    capability_requests,
    contents,
    evidence,
    leases,
    queue_items,
    runs,
    transitions,
    verifications,
)

_e = evidence.c
_p = capability_requests.c


@dataclass(frozen=True, kw_only=True)
class OldFile:
    """A stored file of an ended run, with `outcome` and `ended_at` of the run."""

    evidence_id: str
    kind: str
    bytes: int
    received_at: datetime
    outcome: str | None
    ended_at: datetime
    verification: bool


async def old_files(
    tx: Transaction, *, before: datetime, after: tuple[datetime, str] | None, limit: int
) -> list[OldFile]:
    """Return kept files received *before*, oldest first, behind the one of *after*."""
    query = (
        select(
            _e.evidence_id,
            _e.kind,
            _e.bytes,
            _e.received_at,
            runs.c.outcome,
            runs.c.ended_at,
            _p.verification,
        )
        .join(runs, runs.c.run_id == _e.run_id)
        .join(capability_requests, _p.process_id == _e.process_id)
        .where(_e.removed_at.is_(None), _e.received_at < before, runs.c.ended_at.is_not(None))
        .order_by(_e.received_at, _e.evidence_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(_behind(after, _e.received_at, _e.evidence_id))
    return [OldFile(**row._asdict()) for row in await tx.connection.execute(query)]


def _behind(
    after: tuple[datetime, str], at: Column[datetime], name: Column[str]
) -> ColumnElement[bool]:
    return tuple_(at, name) > tuple_(literal(after[0], Instant), literal(after[1], SafeText))


async def mark_removed(tx: Transaction, evidence_ids: Collection[str], *, why: str) -> list[int]:
    """Mark these files as removed, unless they are; return the sizes of those it marked."""
    statement = (
        update(evidence)
        .where(_e.evidence_id.in_(evidence_ids), _e.removed_at.is_(None))
        .values(removed_at=tx.now, removed_why=why)
        .returning(_e.bytes)
    )
    return list((await tx.connection.execute(statement)).scalars())


async def leftovers(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (id, path) of files that are marked as removed and may still be there."""
    query = (
        select(_e.evidence_id, _e.path)
        .where(_e.removed_at.is_not(None), text("path <> ''"))
        .order_by(_e.removed_at, _e.evidence_id)
        .limit(limit)
    )
    return [(row.evidence_id, row.path) for row in await tx.connection.execute(query)]


async def forget_paths(tx: Transaction, evidence_ids: Collection[str]) -> None:
    """Note that these files are not there any more."""
    statement = update(evidence).where(_e.evidence_id.in_(evidence_ids)).values(path="")
    await tx.connection.execute(statement)


def _is_needed() -> ColumnElement[bool]:
    """Return the condition that something else needs the process, or a delivery is unsettled."""
    return or_(
        exists().where(contents.c.process_id == _p.process_id),
        exists().where(
            verifications.c.run_id == runs.c.run_id,
            runs.c.item_id == queue_items.c.item_id,
            queue_items.c.process_id == _p.process_id,
        ),
        exists().where(
            deliveries.c.process_id == _p.process_id, deliveries.c.state.in_(("pending", "leased"))
        ),
        exists().where(_e.process_id == _p.process_id, _e.path != ""),
        exists().where(
            leases.c.run_id == runs.c.run_id,
            leases.c.phone_held,
            runs.c.item_id == queue_items.c.item_id,
            queue_items.c.process_id == _p.process_id,
        ),
    )


async def old_processes(
    tx: Transaction, *, before: datetime, after: tuple[datetime, str] | None, limit: int
) -> list[tuple[datetime, str, bool]]:
    """Return (end, id, may go) of processes that ended *before*, oldest first, behind *after*."""
    query = (
        select(_p.finished_at, _p.process_id, (~_is_needed()).label("may_go"))
        .where(_p.finished_at < before)
        .order_by(_p.finished_at, _p.process_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(_behind(after, _p.finished_at, _p.process_id))
    found = await tx.connection.execute(query)
    return [(row.finished_at, row.process_id, bool(row.may_go)) for row in found]


async def is_removable(tx: Transaction, process_id: str) -> bool:
    """Lock the process; return whether it has ended and nothing needs it."""
    query = select(_p.state).where(_p.process_id == process_id, ~_is_needed())
    state = (await tx.connection.execute(query.with_for_update())).scalar_one_or_none()
    return state in PROCESS_TERMINAL


async def remove_some_rows(tx: Transaction, process_id: str, *, limit: int) -> int:
    """Remove up to *limit* rows of the process's detail; return how many were removed."""
    item_ids = select(queue_items.c.item_id).where(queue_items.c.process_id == process_id)
    run_ids = select(runs.c.run_id).where(runs.c.item_id.in_(item_ids))
    delivery_ids = select(deliveries.c.delivery_id).where(deliveries.c.process_id == process_id)
    for table, condition in (
        (action_results, action_results.c.run_id.in_(run_ids)),
        (transitions, transitions.c.process_id == process_id),
        (delivery_attempts, delivery_attempts.c.delivery_id.in_(delivery_ids)),
        (leases, leases.c.run_id.in_(run_ids)),
    ):
        key = list(table.primary_key.columns)
        some = select(*key).where(condition).limit(limit)
        gone = await tx.connection.execute(delete(table).where(tuple_(*key).in_(some)))
        if gone.rowcount:
            return gone.rowcount
    return 0


async def remove(tx: Transaction, process_id: str) -> None:
    """Remove a process that was thinned, with its items, runs, deliveries and evidence lines."""
    item_ids = select(queue_items.c.item_id).where(queue_items.c.process_id == process_id)
    for statement in (
        delete(evidence).where(_e.process_id == process_id),
        delete(deliveries).where(deliveries.c.process_id == process_id),
        delete(runs).where(runs.c.item_id.in_(item_ids)),
        delete(queue_items).where(queue_items.c.process_id == process_id),
        delete(capability_requests).where(_p.process_id == process_id),
    ):
        await tx.connection.execute(statement)
