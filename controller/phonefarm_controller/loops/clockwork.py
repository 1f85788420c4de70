"""The clockwork: moves items that the database's clock makes due."""

from phonefarm_controller.loops.enduring import enduring
from phonefarm_controller.operations.wind import BATCH, Wind
from phonefarm_controller.sessions.hints import Hints


async def clockwork(*, wind: Wind, hints: Hints, poll_seconds: float) -> None:
    """Requeue and expire until cancelled; wakes when the next item is due, or is made so."""
    while True:
        wait = poll_seconds
        requeued = expired = 0
        with enduring("clockwork"):
            requeued = await wind.requeue()
        with enduring("clockwork"):
            expired = await wind.expire()
        with enduring("clockwork"):
            due = await wind.next_due()
            if due is not None:
                wait = min(wait, max(due, 0.005))
            if due is not None and due <= poll_seconds:
                # It may be a scheduled item, which only the pump moves.
                hints.work.give()
        if BATCH not in {requeued, expired}:
            await hints.clockwork.taken(within=wait)
