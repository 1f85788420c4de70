"""Ends transactions in the database whose client is frozen and that lock out others."""

import asyncio
from typing import Final

import structlog

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.stuck_transactions import terminate_stuck

log = structlog.get_logger()

PERIOD_SECONDS: Final = 2.0


async def run_stuck_transaction_check(liveness: Liveness, *, database: Database) -> None:
    """Check until cancelled."""
    while True:
        liveness.beat()
        with logged_errors("stuck_transactions"):
            for pid, seconds in (await terminate_stuck(database)).items():
                log.warning("transaction.terminated", backend=pid, seconds=round(seconds, 1))
        await asyncio.sleep(PERIOD_SECONDS)
