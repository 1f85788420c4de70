"""The ticker: moves items and phones that the database's clock makes due."""

import math
import time

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.health.expiry import HealthExpiry
from phonefarm_controller.health.golden_jobs import GoldenJobs
from phonefarm_controller.scheduler.due_items import BATCH, DueItems
from phonefarm_controller.store.loop_leases import Tenure

MARGIN_SECONDS = 0.002
"""When an item becomes due, the database's clock and this one may differ by this much."""


async def run_ticker(
    liveness: Liveness,
    tenure: Tenure | None,
    *,
    due_items: DueItems,
    health_expiry: HealthExpiry,
    golden_jobs: GoldenJobs,
    wakeups: WakeUps,
    poll_seconds: float,
) -> None:
    """Move what is due, and make golden jobs, until cancelled; wake when the next is due.

    It writes under *tenure*.
    """
    promote_at = math.inf
    while True:
        liveness.beat()
        if time.monotonic() >= promote_at:
            wakeups.work_made()  # it may be a scheduled item, which only a pump moves
        promote_at = math.inf
        requeued = expired = 0
        with logged_errors("ticker"):
            requeued = await due_items.requeue(tenure=tenure)
        with logged_errors("ticker"):
            expired = await due_items.expire(tenure=tenure)
        wait = poll_seconds
        with logged_errors("ticker"):
            healed = await health_expiry(tenure=tenure)
            if healed is not None:
                wait = min(wait, max(healed, 0.0) + MARGIN_SECONDS)
        with logged_errors("ticker"):
            await golden_jobs(tenure=tenure)
        with logged_errors("ticker"):
            due = await due_items.next_due()
            if due is not None:
                due = max(due, 0.0) + MARGIN_SECONDS
                promote_at, wait = time.monotonic() + due, min(wait, due)
        if BATCH not in {requeued, expired}:
            await wakeups.ticker.wait(within=wait)
