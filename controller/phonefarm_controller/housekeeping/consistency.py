"""Find processes whose status disagrees with their items, and correct it."""

from typing import Final

import structlog

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import every, logged_errors
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.store import processes
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()


PERIOD_SECONDS: Final = 30.0


@uninterrupted
async def unfinished_processes(database: Database, *, limit: int) -> list[str]:
    """Return processes that have not ended although all their items have: each is a bug of ours."""
    async with database.reading() as tx:
        return await processes.unfinished_without_work(tx, limit=limit)


@uninterrupted
async def correct_status(
    database: Database, wakeups: WakeUps, process_id: str, *, tenure: Tenure | None = None
) -> None:
    """Derive the status of the process again, store it and announce it."""
    async with owning(database, tenure) as tx:
        await roll_up_status(tx, await processes.lock(tx, {process_id}))
    wakeups.deliveries()


async def run_consistency_check(
    liveness: Liveness, tenure: Tenure | None, *, database: Database, wakeups: WakeUps
) -> None:
    """Check until cancelled; correct, under *tenure*, what two checks in a row find."""
    suspects: set[str] = set()

    async def check() -> None:
        nonlocal suspects
        found = set(await unfinished_processes(database, limit=100))
        again, suspects = sorted(found & suspects), found
        for process_id in again:
            log.error("process.status_corrected", process_id=process_id)
            with logged_errors("consistency_check"):
                await correct_status(database, wakeups, process_id, tenure=tenure)

    await every(PERIOD_SECONDS, "consistency_check", check, liveness=liveness)
