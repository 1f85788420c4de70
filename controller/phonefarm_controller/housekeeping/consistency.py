"""Find processes whose status disagrees with their items, and correct it."""

import asyncio
from typing import Final

import structlog

from phonefarm_controller.alarms import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.processes.status import sync
from phonefarm_controller.store import processes
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()


PERIOD_SECONDS: Final = 30.0


@whole
async def unfinished_processes(database: Database, *, limit: int) -> list[str]:
    """Return processes that have not ended although all their items have: each is a bug of ours."""
    async with database.reading() as tx:
        return await processes.unfinished_without_work(tx, limit=limit)


@whole
async def correct_status(
    database: Database, hints: Hints, process_id: str, *, tenure: Tenure | None = None
) -> None:
    """Derive the status of the process again, store it and announce it."""
    async with owning(database, tenure) as tx:
        await sync(tx, await processes.lock(tx, {process_id}))
    hints.deliveries()


async def run_consistency_check(
    pulse: Pulse, tenure: Tenure | None, *, database: Database, hints: Hints
) -> None:
    """Check until cancelled; correct, under *tenure*, what two checks in a row find."""
    suspects: set[str] = set()
    while True:
        pulse.beat()
        await asyncio.sleep(PERIOD_SECONDS)
        with enduring("consistency_check"):
            found = set(await unfinished_processes(database, limit=100))
            again, suspects = sorted(found & suspects), found
            for process_id in again:
                log.error("process.found_unsynced", process_id=process_id)
                with enduring("consistency_check"):
                    await correct_status(database, hints, process_id, tenure=tenure)
