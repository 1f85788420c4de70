"""Ends transactions whose client is frozen and that lock out others."""

from typing import Final

import structlog

from phonefarm_controller.store.database import Database
from phonefarm_controller.store.stuck_transactions import terminate_stuck

log = structlog.get_logger()

PERIOD_SECONDS: Final = 2.0


async def end_stuck_transactions(database: Database) -> None:
    """End those that are stuck now, and log each."""
    for pid, seconds in (await terminate_stuck(database)).items():
        log.warning("transaction.terminated", backend=pid, seconds=round(seconds, 1))
