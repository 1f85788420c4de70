"""The auditor: re-derives processes whose items have all ended; each find is a bug."""

import asyncio

import structlog

from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.housekeeping.consistency import Audit, Mend
from phonefarm_controller.store.loop_leases import Tenure

log = structlog.get_logger()

PERIOD_SECONDS = 30.0


async def auditor(tenure: Tenure | None, *, audit: Audit, mend: Mend, pulse: Pulse) -> None:
    """Look until cancelled. What two looks in a row find is mended, under *tenure*."""
    suspects: set[str] = set()
    while True:
        pulse.beat()
        await asyncio.sleep(PERIOD_SECONDS)
        with enduring("auditor"):
            found = set(await audit(limit=100))
            again, suspects = sorted(found & suspects), found
            for process_id in again:
                log.error("process.found_unsynced", process_id=process_id)
                with enduring("auditor"):
                    await mend(process_id, tenure=tenure)
