"""Finds due items: their back-off is over, or their deadline has passed."""

from datetime import datetime

from sqlalchemy import and_, select

from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.store import pauses, windows
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.held_back import Condition
from phonefarm_controller.store.schema.work import DEADLINE_GIVEN, DUE, WAITING, queue_items

_i = queue_items.c


async def due_for_retry(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of items whose back-off is over."""
    query = (
        select(_i.process_id, _i.item_id)
        .where(DUE, _i.state == ItemState.RETRYABLE, _i.ready_at <= tx.now)
        .order_by(_i.ready_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def next_due(tx: Transaction) -> datetime | None:
    """Return when the next scheduled or retryable item becomes claimable; None when none waits."""
    query = select(_i.ready_at).where(DUE, _i.ready_at > tx.now).order_by(_i.ready_at).limit(1)
    return (await tx.connection.execute(query)).scalar_one_or_none()


async def past_deadline(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items whose deadline has passed.

    What a pause holds back, or has a window, is among them only where its caller gave the deadline.
    """
    found = await _late(tx, DEADLINE_GIVEN, limit=limit)
    paused = await pauses.all_of(tx)
    if len(found) < limit and not any(pause.scope is PauseScope.ALL for pause in paused):
        own = and_(_i.deadline_given.is_(False), ~pauses.HELD_BACK, ~windows.COVERED)
        found += await _late(tx, own, limit=limit - len(found))
    return found


async def _late(tx: Transaction, which: Condition, *, limit: int) -> list[tuple[str, str]]:
    query = (
        select(_i.process_id, _i.item_id)
        .where(WAITING, which, _i.deadline_at < tx.now)
        .order_by(_i.deadline_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]
