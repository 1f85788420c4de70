"""Watches processes: one reader of the database serves any number of watchers.

Commits of this controller wake the reader; those of another are found by polling once a second.
Each read takes heads first, then transitions, then the record: an event's record is never older
than its number, and a process is not taken as ended before all its transitions were sent.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

import structlog

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import DatabaseBusyError, unknown_process
from phonefarm_controller.model.records import record_of
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.store import items, processes, transitions
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.transitions import Head

log = structlog.get_logger()

MOST_AT_ONCE: Final = 200
"""One transaction of the reader covers at most this many processes."""
MOST_TOGETHER: Final = 1000
"""An event has at most this many transitions."""
REMEMBERED: Final = 256
"""The newest transitions that are kept; a watcher who is further behind reads for itself."""


_UNSEEN: Final = Head(number=0, ended=False)


@dataclass(frozen=True, kw_only=True)
class ProcessEvent:
    """The transitions that a watcher has not seen, oldest first, and a record that is as new.

    `number` is that of the newest transition in it; of the last one seen before when there is none.
    """

    number: int
    emitted_at: datetime
    record: dict[str, Any]
    transitions: tuple[Transition, ...]


@dataclass(kw_only=True, eq=False)
class _WatchedProcess:
    """A watched process, and what the reader has seen of it."""

    head: Head = _UNSEEN
    since: int = 0  # every transition behind this number, up to the head, is in `recent`
    recent: deque[Transition] = field(default_factory=deque)
    record: dict[str, Any] = field(default_factory=dict)
    watchers: "set[ProcessWatcher]" = field(default_factory=set)

    def begin(self, head: Head) -> None:
        """Take what a first watcher read for seen: the reader need not begin at the making."""
        if not self.head.number:
            self.head, self.since = head, head.number

    def go_on(self, head: Head, new: Sequence[Transition], record: dict[str, Any]) -> None:
        """Take in the transitions after the head, and wake every watcher."""
        if len(new) == REMEMBERED:  # there may be more between
            self.recent.clear()
            self.since = new[0].number - 1
        self.recent.extend(new)
        while len(self.recent) > REMEMBERED:
            self.since = self.recent.popleft().number
        number = max(head.number, new[-1].number if new else 0)
        self.head, self.record = Head(number=number, ended=head.ended), record
        for watcher in self.watchers:
            watcher.wake()


class ProcessWatch:
    """Keeps the watchers of processes, and reads the watched ones."""

    def __init__(self, *, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups
        self._topics: dict[str, _WatchedProcess] = {}
        wakeups.watched = self._topics

    @contextmanager
    def watch(self, process_id: str, *, after: int) -> "Iterator[ProcessWatcher]":
        """Yield a watcher of what comes after transition *after*; 0 begins with the record."""
        topic = self._topics.setdefault(process_id, _WatchedProcess())
        watcher = ProcessWatcher(
            database=self._database, process_id=process_id, topic=topic, after=after
        )
        topic.watchers.add(watcher)
        try:
            yield watcher
        finally:
            topic.watchers.discard(watcher)
            if not topic.watchers:
                del self._topics[process_id]

    async def refresh(self, *, everywhere: bool) -> None:
        """Read the watched processes that have moved, or all of them."""
        moved, self._wakeups.moved = self._wakeups.moved, set()
        for some in _parts(self._topics.keys() if everywhere else self._topics.keys() & moved):
            await self._refresh(some)

    @uninterrupted
    async def _refresh(self, process_ids: Sequence[str]) -> None:
        async with self._database.reading() as tx:
            heads = await transitions.heads(tx, process_ids)
            for process_id, head in heads.items():
                topic = self._topics.get(process_id)
                if topic is None or head == topic.head:
                    continue
                try:
                    await _read_on(tx, process_id, topic, head)
                except DatabaseBusyError:
                    raise
                except Exception:
                    # What cannot be told of one process must not keep the others untold.
                    log.exception("process.not_watched", process_id=process_id)


class ProcessWatcher:
    """A reader of one process. Transitions between two of its reads become one event."""

    def __init__(
        self, *, database: Database, process_id: str, topic: _WatchedProcess, after: int
    ) -> None:
        self._database = database
        self._process_id = process_id
        self._topic = topic
        self._after = after
        self._head: Head | None = None  # as this watcher itself has seen it
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Wake this watcher."""
        self._awake.set()

    async def next(self) -> ProcessEvent | None:
        """Return what is new once there is something; None when nothing more can come.

        FarmError `unknown_process`.
        """
        if self._head is None:
            event = await self._read(record_at_least=self._after == 0)
            if event is not None:
                return event
        while True:
            self._awake.clear()
            heads = [head for head in (self._topic.head, self._head) if head is not None]
            if self._after < max(head.number for head in heads):
                event = self._remembered() or await self._read(record_at_least=False)
                if event is not None:
                    return event
            elif any(head.ended for head in heads):
                return None
            else:
                await self._awake.wait()

    def _remembered(self) -> ProcessEvent | None:
        topic = self._topic
        if self._after < topic.since or not topic.recent:
            return None
        new = tuple(one for one in topic.recent if one.number > self._after)
        return self._told(new, topic.record, at=new[-1].at) if new else None

    @uninterrupted
    async def _read(self, *, record_at_least: bool) -> ProcessEvent | None:
        """Read what came after the last event; None for nothing."""
        async with self._database.reading() as tx:
            head = (await transitions.heads(tx, [self._process_id])).get(self._process_id)
            if head is None:
                raise unknown_process(self._process_id)
            new = await transitions.following(
                tx, self._process_id, after=self._after, limit=MOST_TOGETHER
            )
            record = await _record(tx, self._process_id) if new or record_at_least else {}
        self._head = head
        self._topic.begin(head)
        if not new and not record_at_least:
            return None
        return self._told(tuple(new), record, at=new[-1].at if new else tx.now)

    def _told(
        self, new: tuple[Transition, ...], record: dict[str, Any], *, at: datetime
    ) -> ProcessEvent:
        if new:
            self._after = new[-1].number
        return ProcessEvent(number=self._after, emitted_at=at, record=record, transitions=new)


async def _read_on(tx: Transaction, process_id: str, topic: _WatchedProcess, head: Head) -> None:
    newest = await transitions.newest(tx, process_id, limit=REMEMBERED)
    new = [one for one in newest if one.number > topic.head.number]
    topic.go_on(head, new, await _record(tx, process_id))


async def _record(tx: Transaction, process_id: str) -> dict[str, Any]:
    process = await processes.get(tx, process_id)
    if process is None:
        raise unknown_process(process_id)
    lines = await items.lines(tx, {process_id})
    return record_of(process, lines[process_id])


def _parts(process_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(list(process_ids))
    while part := list(islice(rest, MOST_AT_ONCE)):
        yield part


POLL_SECONDS: Final = 1.0
"""A change by another controller is seen at most this late."""
LEAST_PAUSE_SECONDS: Final = 0.01
"""Changes that are closer together than this are sent together."""


async def run_process_watch(
    liveness: Liveness, *, process_watch: ProcessWatch, wakeups: WakeUps
) -> None:
    """Read the watched processes until cancelled, for at most half of the time."""
    looked = -math.inf
    while True:
        liveness.beat()
        await wakeups.moves.wait(within=POLL_SECONDS)
        begun = time.monotonic()
        everywhere = begun - looked >= POLL_SECONDS
        with logged_errors("process_watch"):
            await process_watch.refresh(everywhere=everywhere)
        if everywhere:
            looked = begun
        await asyncio.sleep(max(LEAST_PAUSE_SECONDS, time.monotonic() - begun))
