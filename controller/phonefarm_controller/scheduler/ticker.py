"""The clockwork: moves items and phones that the database's clock makes due."""

import math
import time

from phonefarm_controller.alarms import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.health.expiry import Heal
from phonefarm_controller.health.golden_jobs import GoldenJobs
from phonefarm_controller.scheduler.due_items import BATCH, Wind
from phonefarm_controller.store.loop_leases import Tenure

MARGIN_SECONDS = 0.002
"""The database's clock and ours may differ by this when an item has just become due."""


async def run_ticker(
    pulse: Pulse,
    tenure: Tenure | None,
    *,
    wind: Wind,
    heal: Heal,
    golden: GoldenJobs,
    hints: Hints,
    poll_seconds: float,
) -> None:
    """Requeue, expire, heal, make golden jobs until cancelled; wakes when the next is due.

    It writes under *tenure*.
    """
    promote_at = math.inf
    while True:
        pulse.beat()
        if time.monotonic() >= promote_at:
            hints.work_made()  # it may be a scheduled item, which only a pump moves
        promote_at = math.inf
        requeued = expired = 0
        with enduring("ticker"):
            requeued = await wind.requeue(tenure=tenure)
        with enduring("ticker"):
            expired = await wind.expire(tenure=tenure)
        wait = poll_seconds
        with enduring("ticker"):
            healed = await heal(tenure=tenure)
            if healed is not None:
                wait = min(wait, max(healed, 0.0) + MARGIN_SECONDS)
        with enduring("ticker"):
            await golden(tenure=tenure)
        with enduring("ticker"):
            due = await wind.next_due()
            if due is not None:
                due = max(due, 0.0) + MARGIN_SECONDS
                promote_at, wait = time.monotonic() + due, min(wait, due)
        if BATCH not in {requeued, expired}:
            await hints.clockwork.taken(within=wait)
