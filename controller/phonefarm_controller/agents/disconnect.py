"""Part: an agent's session is over; its phones' leases live on until they expire."""

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import agents
from phonefarm_controller.store.database import Database


class Part:
    """Closes sessions."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self, agent_id: str, term: int) -> None:
        """Note that the session is over, unless a newer one has taken over."""
        try:
            async with self._database.writing() as tx:
                await agents.parted_in_term(tx, agent_id, term)
        except DatabaseBusyError:
            pass  # `connected` is a display; silence is judged by its age
