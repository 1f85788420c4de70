"""Own: who runs a loop that one controller runs for all. Each step is a compare-and-set."""

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.store import loop_leases
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import LoopLease, Tenure


class Own:
    """Takes, keeps and leaves loops for one controller."""

    def __init__(self, *, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    @whole
    async def look(self, loop: str) -> LoopLease | None:
        """Return who has the loop; None: nobody ever had."""
        async with self._database.reading() as tx:
            return await loop_leases.get(tx, loop)

    @whole
    async def take(self, loop: str, *, seen: LoopLease | None) -> Tenure | None:
        """Begin a term; None when its owner was heard since it was *seen*, or another was first."""
        async with self._database.writing() as tx:
            return await loop_leases.take_if_unchanged(tx, loop, seen=seen, owner=self._owner)

    @whole
    async def beat(self, tenure: Tenure) -> bool:
        """Show that we live; False when the loop is another's."""
        async with self._database.writing() as tx:
            return await loop_leases.beat_if_owned(tx, tenure)

    @whole
    async def leave(self, tenure: Tenure) -> None:
        """Give the loop up, if we still have it."""
        async with self._database.writing() as tx:
            await loop_leases.leave_if_owned(tx, tenure)
