"""Watch: every lease that keeps a phone, as the reaper needs to see it."""

from dataclasses import dataclass

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.states import RunState
from phonefarm_controller.store import leases, runs
from phonefarm_controller.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A lease, and whether its run has passed the start gate."""

    lease: Lease
    started: bool


class Watch:
    """Reads leases."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self) -> list[Watched]:
        """Return every lease that keeps a phone, as of now."""
        async with self._database.reading() as tx:
            held = await leases.held(tx)
            known = await runs.get(tx, {lease.run_id for lease in held})
        return [
            Watched(lease=lease, started=known[lease.run_id].state is not RunState.CLAIMED)
            for lease in held
        ]
