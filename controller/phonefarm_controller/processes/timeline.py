"""Timeline: every transition of a process and of its items."""

from collections.abc import Sequence
from typing import Final

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.store import transitions
from phonefarm_controller.store.database import Database

MOST_TRANSITIONS: Final = 10_000
MOST_BYTES: Final = 6 * 1024 * 1024
"""Of their reasons and all else: they travel in one message of 8 MiB."""
_REST_BYTES: Final = 400
"""A transition's fields without its reason, written out."""


class Timeline:
    """Reads timelines."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self, process_id: str) -> tuple[list[Transition], bool]:
        """Return the newest transitions, oldest first, and whether older ones are left out.

        FarmError `unknown_process`.
        """
        async with self._database.reading() as tx:
            if process_id not in await transitions.heads(tx, [process_id]):
                raise unknown_process(process_id)
            found = await transitions.newest(tx, process_id, limit=MOST_TRANSITIONS + 1)
        told = _fitting(found)
        return told, len(told) < len(found)


def _fitting(found: Sequence[Transition]) -> list[Transition]:
    """Return the newest that fit in one message."""
    told: list[Transition] = []
    size = 0
    for transition in found[-MOST_TRANSITIONS:][::-1]:
        size += len(transition.reason.encode()) + _REST_BYTES
        if size > MOST_BYTES:
            break
        told.append(transition)
    return told[::-1]
