"""Due items: back-offs that are over, deadlines that have passed."""

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import DatabaseBusyError, OwnerLostError
from phonefarm_controller.model.failures import expired
from phonefarm_controller.model.items import Item, dead, requeued
from phonefarm_controller.model.pauses import Pause, pause_of
from phonefarm_controller.model.states import ITEM_WAITING, ItemState
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.store import due_items, items, pauses, processes, windows
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()

BATCH = 200


class DueItems:
    """Requeues items after their back-off, and ends those past their deadline."""

    def __init__(self, *, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups

    @uninterrupted
    async def next_due(self) -> float | None:
        """Return the seconds until the next item becomes claimable by time; None for never."""
        async with self._database.reading() as tx:
            due: datetime | None = await due_items.next_due(tx)
            return None if due is None else (due - tx.now).total_seconds()

    @uninterrupted
    async def requeue(self, *, tenure: Tenure | None = None) -> int:
        """Put retryable items whose back-off is over back into the queue; return how many."""
        async with self._database.reading() as tx:
            due = await due_items.due_for_retry(tx, limit=BATCH)
        if not due:
            return 0
        moved = await self._move_apart(due, tenure, to=ItemState.QUEUED)
        self._wakeups.work_made()
        return moved

    @uninterrupted
    async def expire(self, *, tenure: Tenure | None = None) -> int:
        """End waiting items whose deadline has passed; return how many.

        A pause that holds an item back also keeps it from ending at the farm's own limit, and so
        does any window that it has.
        """
        async with self._database.reading() as tx:
            due = await due_items.past_deadline(tx, limit=BATCH)
        if not due:
            return 0
        moved = await self._move_apart(due, tenure, to=ItemState.DEAD_LETTER)
        self._wakeups.deliveries()
        return moved

    async def _move_apart(
        self, due: list[tuple[str, str]], tenure: Tenure | None, *, to: ItemState
    ) -> int:
        """Move them together; when that fails one by one, so that one keeps back only itself."""
        try:
            async with owning(self._database, tenure) as tx:
                return await self._move(tx, due, to=to)
        except (DatabaseBusyError, OwnerLostError):
            raise
        except Exception:
            if len(due) == 1:
                log.exception("item.not_moved", process_id=due[0][0], item_id=due[0][1], to=str(to))
                return 0
        return sum([await self._move_apart([one], tenure, to=to) for one in due])

    async def _move(self, tx: Transaction, due: list[tuple[str, str]], *, to: ItemState) -> int:
        locked = await processes.lock(tx, {process_id for process_id, _ in due})
        before = await items.lock(tx, {item_id for _, item_id in due})
        # After the locks: a pause that has ended since has moved the deadlines that it held.
        paused = await pauses.all_of(tx)
        covered = await windows.covered(tx, before) if to is ItemState.DEAD_LETTER else set()
        after = [
            moved
            for item in before.values()
            if (moved := _moved(item, tx, paused, covered, to)) is not None
        ]
        await items.save(tx, before, after)
        touched = {item.process_id for item in after}
        await roll_up_status(
            tx, {key: process for key, process in locked.items() if key in touched}
        )
        return len(after)


def _moved(
    item: Item, tx: Transaction, paused: Sequence[Pause], covered: Collection[str], to: ItemState
) -> Item | None:
    """Return the moved item, None when it is no longer due."""
    if to is ItemState.QUEUED:
        due = item.state is ItemState.RETRYABLE and item.ready_at <= tx.now
        return requeued(item) if due else None
    if item.state not in ITEM_WAITING or item.deadline_at >= tx.now:
        return None
    if not item.deadline_given and (
        item.item_id in covered
        or pause_of(
            paused, app=item.app, account_id=item.want_account_id, capability=item.capability
        )
    ):
        return None
    failure = expired(deadline=item.deadline_given, last=item.failure)
    log.info("item.expired", process_id=item.process_id, item_id=item.item_id, code=failure.code)
    return dead(item, failure=failure, now=tx.now)
