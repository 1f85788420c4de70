"""Hints that there may be something to do. Losing one costs a poll, never correctness."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


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


@dataclass(kw_only=True)
class Notice:
    """What one controller has to tell the others; several become one."""

    work: bool = False  # something may have become claimable
    clockwork: bool = False  # something becomes due at a new time
    fleet: bool = False  # phones or accounts have changed
    deliveries: bool = False  # there are new callbacks
    moved: set[str] = field(default_factory=set)  # processes
    agents: set[str] = field(default_factory=set)  # with orders that are waiting for them

    def __bool__(self) -> bool:
        """Tell whether there is anything to tell."""
        told = self.work, self.clockwork, self.fleet, self.deliveries, self.moved, self.agents
        return any(told)


class Hints:
    """The hints of one controller.

    What is given here for others too gathers in a Notice, which the herald takes. Without others
    (`alone`) nothing gathers.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self.work = Hint()  # an item or a phone may have become claimable
        self.clockwork = Hint()  # something became due at a new time
        self.fleet_version = 0
        self.moves = Hint()  # a watched process has moved
        self.moved: set[str] = set()  # which ones; whoever takes the hint empties it
        self.watched: Collection[str] = ()
        self.outgoing = Hint()
        self.alone = alone
        self._notice = Notice()
        self._deliveries: set[asyncio.Event] = set()

    def work_made(self) -> None:
        """Let every controller look for work."""
        self.work.give()
        self._notice.work = True
        self._tell()

    def times_changed(self) -> None:
        """Let every clockwork look at what is due next."""
        self.clockwork.give()
        self._notice.clockwork = True
        self._tell()

    def fleet_changed(self) -> None:
        """Let phones and accounts be read anew; there may be work for them."""
        self._fleet_changed_here()
        self._notice.fleet = True
        self._tell()

    def deliveries(self) -> None:
        """Wake every gateway that waits for deliveries."""
        self._deliveries_here()
        self._notice.deliveries = True
        self._tell()

    def processes_moved(self, process_ids: Iterable[str]) -> None:
        """Let watched processes be looked at."""
        moved = set(process_ids)
        self._moved_here(moved)
        if not self.alone:
            self._notice.moved |= moved
            self._tell()

    def orders_made(self, agent_ids: Iterable[str]) -> None:
        """Let the controllers that these agents are connected to look what they should do."""
        if self.alone:
            return
        self._notice.agents.update(agent_ids)
        if self._notice.agents:
            self._tell()

    def take_notice(self) -> Notice:
        """Return what gathered, and begin anew."""
        notice, self._notice = self._notice, Notice()
        return notice

    def hear(self, notice: Notice) -> None:
        """Take in what another controller tells."""
        if notice.work:
            self.work.give()
        if notice.clockwork:
            self.clockwork.give()
        if notice.fleet:
            self._fleet_changed_here()
        if notice.deliveries:
            self._deliveries_here()
        self._moved_here(notice.moved)

    def hear_all(self) -> None:
        """Look at everything: something may have been told that nobody here heard."""
        self.hear(Notice(work=True, clockwork=True, fleet=True, deliveries=True))
        self._moved_here(self.watched)

    def _tell(self) -> None:
        if not self.alone:
            self.outgoing.give()

    def _fleet_changed_here(self) -> None:
        self.fleet_version += 1
        self.work.give()

    def _deliveries_here(self) -> None:
        for event in self._deliveries:
            event.set()

    def _moved_here(self, process_ids: Iterable[str]) -> None:
        moved = [process_id for process_id in process_ids if process_id in self.watched]
        if moved:
            self.moved.update(moved)
            self.moves.give()

    @contextmanager
    def deliveries_heard(self) -> Iterator[asyncio.Event]:
        """Yield an event that every delivery made while the block runs sets."""
        event = asyncio.Event()
        self._deliveries.add(event)
        try:
            yield event
        finally:
            self._deliveries.discard(event)
