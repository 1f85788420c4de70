"""Mend: derive one process anew from its items."""

from phonefarm_controller.operations.sync import sync
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import processes
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import Tenure, owning


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
