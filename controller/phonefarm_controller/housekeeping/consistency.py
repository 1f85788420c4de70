"""Find processes whose status disagrees with their items, and correct it."""

import asyncio

import structlog

from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.processes.status import sync
from phonefarm_controller.store import processes
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()


class Audit:
    """Looks for processes that should have ended: each find is a bug of process sync."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self, *, limit: int) -> list[str]:
        """Return processes that are not terminal although all their items are."""
        async with self._database.reading() as tx:
            return await processes.unfinished_without_work(tx, limit=limit)


class Mend:
    """Syncs a process that nothing else will."""

    def __init__(self, *, database: Database, hints: Hints) -> None:
        self._database = database
        self._hints = hints

    @whole
    async def __call__(self, process_id: str, *, tenure: Tenure | None = None) -> None:
        """Derive, save and announce the process."""
        async with owning(self._database, tenure) as tx:
            await sync(tx, await processes.lock(tx, {process_id}))
        self._hints.deliveries()


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
