"""The usher: ends what stands still in the database and keeps others from what it has locked."""

import asyncio
from typing import Final

import structlog

from phonefarm_controller.alarms import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.stuck_transactions import end_standing

log = structlog.get_logger()

PERIOD_SECONDS: Final = 2.0


async def run_stuck_transaction_check(pulse: Pulse, *, database: Database) -> None:
    """Look until cancelled."""
    while True:
        pulse.beat()
        with enduring("stuck_transactions"):
            for pid, seconds in (await end_standing(database)).items():
                log.warning("transaction.ended", backend=pid, seconds=round(seconds, 1))
        await asyncio.sleep(PERIOD_SECONDS)
