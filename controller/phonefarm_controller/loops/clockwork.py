"""The clockwork: moves items that the database's clock makes due."""

import structlog

from phonefarm_controller.operations.wind import BATCH, Wind
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store.database import DatabaseBusyError

log = structlog.get_logger()


async def clockwork(*, wind: Wind, hints: Hints, poll_seconds: float) -> None:
    """Requeue and expire until cancelled; wakes when the next item is due, or is made so."""
    while True:
        wait = poll_seconds
        try:
            requeued, expired = await wind.requeue(), await wind.expire()
            due = await wind.next_due()
            if due is not None:
                wait = min(wait, max(due, 0.005))
            if due is not None and due <= poll_seconds:
                # It may be a scheduled item, which only the pump moves.
                hints.work.give()
            if BATCH in (requeued, expired):
                continue
        except DatabaseBusyError as error:
            log.warning("clockwork.failed", error=str(error))
        await hints.clockwork.taken(within=wait)
