"""Wake-ups tell a loop that there may be work. If one is lost, the loop finds the work later."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class WakeUp:
    """Set when there is new work; the loop that waits for it resets it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the waiting loop, or the next time it waits."""
        self._event.set()

    async def wait(self, *, within: float) -> bool:
        """Wait for a wake-up at most *within* seconds and take it; False when none came."""
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


@dataclass(kw_only=True)
class Notification:
    """A change that a controller reports to the others; several of the same kind become one."""

    work: bool = False  # something may have become claimable
    ticker: bool = False  # something becomes due at a new time
    fleet: bool = False  # phones or accounts have changed
    deliveries: bool = False  # there are new callbacks
    moved: set[str] = field(default_factory=set)  # processes
    agents: set[str] = field(default_factory=set)  # for which assignments or stops wait

    def __bool__(self) -> bool:
        """Return whether there is anything to tell."""
        told = self.work, self.ticker, self.fleet, self.deliveries, self.moved, self.agents
        return any(told)


class WakeUps:
    """The wake-ups of one controller.

    Those that concern other controllers too gather in a notification, which the notifier takes.
    Without other controllers (`alone`) nothing gathers.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self.work = WakeUp()  # an item or a phone may have become claimable
        self.ticker = WakeUp()  # something became due at a new time
        self.fleet_version = 0
        self.farm = WakeUp()  # a process, a phone or an account has changed
        self.moves = WakeUp()  # a watched process has moved
        self.moved: set[str] = set()  # which ones; the loop that takes the wake-up empties it
        self.watched: Collection[str] = ()
        self.outgoing = WakeUp()
        self.alone = alone
        self._notification = Notification()
        self._deliveries: set[asyncio.Event] = set()

    def work_made(self) -> None:
        """Wake the dispatcher of every controller."""
        self.work.set()
        self._notification.work = True
        self._tell()

    def due_times_changed(self) -> None:
        """Wake the ticker, here or at another controller."""
        self.ticker.set()
        self._notification.ticker = True
        self._tell()

    def fleet_changed(self) -> None:
        """Have phones and accounts read again; there may be work for them."""
        self._fleet_changed_here()
        self._notification.fleet = True
        self._tell()

    def deliveries(self) -> None:
        """Wake every gateway that waits for deliveries."""
        self._deliveries_here()
        self._notification.deliveries = True
        self._tell()

    def processes_moved(self, process_ids: Iterable[str]) -> None:
        """Have those of the processes read that are watched."""
        moved = set(process_ids)
        self._moved_here(moved)
        if not self.alone:
            self._notification.moved |= moved
            self._tell()

    def orders_made(self, agent_ids: Iterable[str]) -> None:
        """Have the controllers that these agents are connected to send the desired state."""
        if self.alone:
            return
        self._notification.agents.update(agent_ids)
        if self._notification.agents:
            self._tell()

    def take_notification(self) -> Notification:
        """Return what gathered, and start to gather again."""
        notice, self._notification = self._notification, Notification()
        return notice

    def receive(self, notice: Notification) -> None:
        """Apply what another controller told."""
        if notice.work:
            self.work.set()
        if notice.ticker:
            self.ticker.set()
        if notice.fleet:
            self._fleet_changed_here()
        if notice.deliveries:
            self._deliveries_here()
        self._moved_here(notice.moved)

    def receive_all(self) -> None:
        """Wake everything: a notification may have been lost."""
        self.receive(Notification(work=True, ticker=True, fleet=True, deliveries=True))
        self._moved_here(self.watched)

    def _tell(self) -> None:
        if not self.alone:
            self.outgoing.set()

    def _fleet_changed_here(self) -> None:
        self.fleet_version += 1
        self.farm.set()
        self.work.set()

    def _deliveries_here(self) -> None:
        for event in self._deliveries:
            event.set()

    def _moved_here(self, process_ids: Collection[str]) -> None:
        if process_ids:
            self.farm.set()
        moved = [process_id for process_id in process_ids if process_id in self.watched]
        if moved:
            self.moved.update(moved)
            self.moves.set()

    @contextmanager
    def delivery_event(self) -> Iterator[asyncio.Event]:
        """Yield an event that every delivery made while the block runs sets."""
        event = asyncio.Event()
        self._deliveries.add(event)
        try:
            yield event
        finally:
            self._deliveries.discard(event)
