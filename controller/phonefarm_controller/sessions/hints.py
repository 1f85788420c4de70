"""Hints that there may be something to do. Losing one costs a poll, never correctness."""

import asyncio
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager


class Hint:
    """A level: set by whoever made work, awaited by the one who does it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Wake whoever waits, now or next."""
        self._event.set()

    async def taken(self, *, within: float) -> bool:
        """Wait for a hint at most *within* seconds and take it; False when none came."""
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hints:
    """The hints of one controller."""

    def __init__(self) -> None:
        self.work = Hint()  # an item or a phone may have become claimable
        self.clockwork = Hint()  # something became due at a new time
        self.fleet_version = 0
        self.moves = Hint()  # a watched process has moved
        self.moved: set[str] = set()  # which ones; whoever takes the hint empties it
        self.watched: Container[str] = ()
        self._deliveries: set[asyncio.Event] = set()

    def fleet_changed(self) -> None:
        """Let phones and accounts be read anew; there may be work for them."""
        self.fleet_version += 1
        self.work.give()

    def processes_moved(self, process_ids: Iterable[str]) -> None:
        """Let watched processes be looked at."""
        moved = [process_id for process_id in process_ids if process_id in self.watched]
        if moved:
            self.moved.update(moved)
            self.moves.give()

    def deliveries(self) -> None:
        """Wake every gateway that waits for deliveries."""
        for event in self._deliveries:
            event.set()

    @contextmanager
    def deliveries_heard(self) -> Iterator[asyncio.Event]:
        """Yield an event that every delivery made while the block runs sets."""
        event = asyncio.Event()
        self._deliveries.add(event)
        try:
            yield event
        finally:
            self._deliveries.discard(event)
