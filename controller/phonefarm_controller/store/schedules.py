"""Schedules, by name, and the firings that are kept of each."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import and_, delete, func, or_, select, update

from phonefarm_controller.model.cron import Cron
from phonefarm_controller.model.schedules import (
    CatchUp,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
)
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_missing, insert_unless_there
from phonefarm_controller.store.schema.schedules import HAS_DUE, schedule_firings, schedules

MOST_FIRINGS: Final = 100
"""Firings that are kept of each schedule, the newest."""

_s, _f = schedules.c, schedule_firings.c
_CHANGING: Final = (
    "paused",
    "handled_until",
    "next_at",
    "due_at",
    "last_process_id",
    "problem",
)


async def insert_if_free(tx: Transaction, schedule: Schedule) -> bool:
    """Insert the schedule unless one has its name; return whether it was inserted."""
    return await insert_unless_there(tx, schedules, _values(schedule), key=["name"])


async def count(tx: Transaction) -> int:
    """Return how many schedules there are."""
    number: int = (
        await tx.connection.execute(select(func.count()).select_from(schedules))
    ).scalar_one()
    return number


async def all_of(tx: Transaction) -> list[Schedule]:
    """Return every schedule, by name."""
    rows = await tx.connection.execute(select(schedules).order_by(_s.name))
    return [_schedule(row) for row in rows]


async def get(tx: Transaction, name: str) -> Schedule | None:
    """Return the schedule of this name, None without one."""
    row = (await tx.connection.execute(select(schedules).where(_s.name == name))).one_or_none()
    return None if row is None else _schedule(row)


async def lock(tx: Transaction, schedule_id: str) -> Schedule | None:
    """Return the schedule, locked until the end; None if it was deleted."""
    query = select(schedules).where(_s.schedule_id == schedule_id).with_for_update()
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else _schedule(row)


async def due(tx: Transaction, *, limit: int) -> list[str]:
    """Return the ids of schedules that are due, those that are so for longest first."""
    query = (
        select(_s.schedule_id)
        .where(HAS_DUE, _s.due_at <= tx.now)
        .order_by(_s.due_at, _s.schedule_id)
        .limit(limit)
    )
    return list((await tx.connection.execute(query)).scalars())


async def save(tx: Transaction, schedule: Schedule) -> None:
    """Write what changes of a schedule that is locked."""
    values = _values(schedule)
    changes = {name: values[name] for name in _CHANGING}
    this = _s.schedule_id == schedule.schedule_id
    await tx.connection.execute(update(schedules).where(this).values(changes))


async def remove(tx: Transaction, schedule_id: str) -> None:
    """Delete the schedule and its firings; its processes stay."""
    await tx.connection.execute(delete(schedule_firings).where(_f.schedule_id == schedule_id))
    await tx.connection.execute(delete(schedules).where(_s.schedule_id == schedule_id))


async def keep_firings(tx: Transaction, schedule_id: str, firings: Sequence[Firing]) -> None:
    """Add the firings of instants that have none, and remove the oldest beyond MOST_FIRINGS."""
    rows = [
        {
            "schedule_id": schedule_id,
            "instant": firing.instant,
            "at": firing.at,
            "outcome": str(firing.outcome),
            "process_id": firing.process_id,
            "reason": firing.reason,
            "message": firing.message,
        }
        for firing in firings
    ]
    await insert_missing(tx, schedule_firings, rows)
    oldest = (
        select(_f.instant)
        .where(_f.schedule_id == schedule_id)
        .order_by(_f.instant.desc())
        .offset(MOST_FIRINGS)
        .limit(1)
        .scalar_subquery()
    )
    await tx.connection.execute(
        delete(schedule_firings).where(_f.schedule_id == schedule_id, _f.instant <= oldest)
    )


async def firings_of(tx: Transaction, schedule_id: str) -> list[Firing]:
    """Return the firings that are kept, the newest instant first."""
    query = (
        select(schedule_firings).where(_f.schedule_id == schedule_id).order_by(_f.instant.desc())
    )
    return [
        Firing(
            instant=row.instant,
            at=row.at,
            outcome=FiringOutcome(row.outcome),
            process_id=row.process_id,
            reason=row.reason,
            message=row.message,
        )
        for row in await tx.connection.execute(query)
    ]


async def in_trouble(tx: Transaction) -> list[tuple[str, str]]:
    """Return the schedules that fire nothing at present, by name, each with the reason.

    They have a problem, or their last request was refused; paused ones are not among them.
    """
    any_firing = schedule_firings.alias()
    newest = (
        select(func.max(any_firing.c.instant))
        .where(any_firing.c.schedule_id == _s.schedule_id)
        .scalar_subquery()
    )
    last = and_(_f.schedule_id == _s.schedule_id, _f.instant == newest)
    was_refused = _f.outcome == str(FiringOutcome.REFUSED)
    query = (
        select(_s.name, _s.problem, _f.message)
        .join_from(schedules, schedule_firings, last, isouter=True)
        .where(_s.paused.is_(False), or_(_s.problem != "", was_refused))
        .order_by(_s.name)
    )
    rows = await tx.connection.execute(query)
    return [(row.name, row.problem or row.message) for row in rows]


def _values(schedule: Schedule) -> dict[str, Any]:
    within = schedule.start_within
    return {
        "schedule_id": schedule.schedule_id,
        "name": schedule.name,
        "expression": schedule.cron.expression,
        "zone": schedule.cron.zone,
        "jitter_seconds": int(schedule.jitter.total_seconds()),
        "catch_up": str(schedule.catch_up),
        "overlap": str(schedule.overlap),
        "start_within_seconds": None if within is None else int(within.total_seconds()),
        "request": schedule.request,
        "paused": schedule.paused,
        "handled_until": schedule.handled_until,
        "next_at": schedule.next_at,
        "due_at": schedule.due_at,
        "last_process_id": schedule.last_process_id,
        "problem": schedule.problem,
        "created_at": schedule.created_at,
        "created_by": schedule.created_by,
    }


def _schedule(row: Any) -> Schedule:
    values = row._asdict()
    within = values.pop("start_within_seconds")
    return Schedule(
        cron=Cron(expression=values.pop("expression"), zone=values.pop("zone")),
        jitter=timedelta(seconds=values.pop("jitter_seconds")),
        catch_up=CatchUp(values.pop("catch_up")),
        overlap=Overlap(values.pop("overlap")),
        start_within=None if within is None else timedelta(seconds=within),
        **values,
    )
