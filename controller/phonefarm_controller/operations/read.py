"""Read: the record of a process, as of now."""

from collections.abc import Sequence
from typing import Any

from phonefarm_controller.domain.records import record_of
from phonefarm_controller.domain.states import PUBLIC, PublicStatus
from phonefarm_controller.operations.cancel import unknown_process
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.store import items, processes
from phonefarm_controller.store.database import Database


class Read:
    """Reads processes."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def process(self, process_id: str) -> dict[str, Any]:
        """Return the record; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            process = await processes.get(tx, process_id)
            if process is None:
                raise unknown_process(process_id)
            lines = await items.lines(tx, {process_id})
        return record_of(process, lines[process_id])

    @whole
    async def newest(self, *, statuses: Sequence[PublicStatus], limit: int) -> list[dict[str, Any]]:
        """Return the records of the newest processes in one of the statuses (all when empty)."""
        states = [state for state, public in PUBLIC.items() if public in statuses]
        async with self._database.reading() as tx:
            found = await processes.newest(tx, states=states, limit=limit)
            lines = await items.lines(tx, {process.process_id for process in found})
        return [record_of(process, lines[process.process_id]) for process in found]
