"""Watch the farm: one reader finds the changes of phones, processes and incidents for all watchers.

One reader compares what it reads with what it read before (docs/adr/0030). What changed stands in
one ring, the last change last; a watcher is a place in it. A thing that changes again moves to the
end, so a watcher sees it once, as it is then.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.phones import PhoneView, view_phones
from phonefarm_controller.model.phone_reports import Incident
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.store import hosts, phones, process_moves
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.process_moves import ProcessSummary

REMEMBERED: Final = 5000
"""The ring keeps this many changes. A watcher that is further behind gets a reset."""
MOST_AT_ONCE: Final = 200
"""A watcher gets at most this many changes together."""
MOST_MOVES: Final = 2000
"""One read returns at most this many transitions."""
MISSING_SECONDS: Final = 60.0
"""A missing number may still be committed for this long; after that it was rolled back."""
LONGEST_ABSENCE: Final = timedelta(hours=1)
"""A watcher that was away for longer than this gets a reset."""
MARGIN: Final = timedelta(minutes=1)
"""Incidents are read from this much earlier, because some are committed late."""


@dataclass(frozen=True, kw_only=True)
class ProcessChange:
    """A process that changed: its line in a list, its newest transition, and where it runs."""

    process: ProcessSummary
    newest: Transition
    phone_id: str | None
    account_id: str | None


@dataclass(frozen=True, kw_only=True)
class IncidentChange:
    """An incident that began, changed or ended, and its host."""

    agent_id: str
    incident: Incident


Change: TypeAlias = PhoneView | ProcessChange | IncidentChange
_Key: TypeAlias = tuple[str, ...]


class Reset(StrEnum):
    """Why a watcher has to read the lists again."""

    CONNECTED = "connected"
    TOO_OLD = "too_old"
    TOO_SLOW = "too_slow"


@dataclass(frozen=True, kw_only=True)
class FarmCursor:
    """A position in the stream: `version` of this `reader`, and what another reader needs.

    Every transition up to `number` was seen, and everything else as it was at `at`.
    """

    number: int
    at: datetime
    reader: str
    version: int


@dataclass(frozen=True, kw_only=True)
class FarmChanges:
    """Changes, oldest first, and the position after them; after a *reset* read the lists.

    The first has neither when the watcher's own place was found and nothing is behind it.
    """

    cursor: FarmCursor
    changes: tuple[Change, ...] = ()
    reset: Reset | None = None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    version: int
    before: FarmCursor  # where another reader goes on that has not seen this
    change: Change


class FarmWatch:
    """Reads the farm while somebody watches it, and keeps the latest changes."""

    def __init__(
        self, *, database: Database, sessions: Sessions, monotonic: Callable[[], float]
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._monotonic = monotonic
        self._ring: OrderedDict[_Key, _Entry] = OrderedDict()
        self._shown: dict[_Key, object] = {}  # phones and incidents, as last told
        self._highest = 0
        self._missing: dict[int, float] = {}  # numbers below the highest, since when
        self._place: FarmCursor | None = None
        self._read_at = 0.0
        self._forgotten = 0  # the highest version that has left the ring
        self._watchers: set[asyncio.Event] = set()
        self._fresh = False
        self.wanted = asyncio.Event()

    @contextmanager
    def watch(self, after: FarmCursor | None) -> "Iterator[FarmWatcher]":
        """Yield a watcher of what changes after *after*; None begins now, with a reset."""
        awake = asyncio.Event()
        self._watchers.add(awake)
        self.wanted.set()
        try:
            yield FarmWatcher(self, after, awake)
        finally:
            self._watchers.discard(awake)
            if not self._watchers:
                self.wanted.clear()
                self._fresh = False

    @property
    def place(self) -> FarmCursor | None:
        """Return the place behind everything that was read; None until it is read."""
        return self._place if self._fresh else None

    @uninterrupted
    async def refresh(self) -> None:
        """Read what changed, and wake the watchers."""
        async with self._database.reading() as tx:
            place, last = await self._start(tx)
            late = await process_moves.with_numbers(tx, self._missing)
            new = await process_moves.following(tx, after=last, limit=MOST_MOVES)
            views = await view_phones(tx, self._sessions, await phones.all_of(tx))
            incidents = await hosts.recent_of(tx, ended_after=place.at - MARGIN)
            changes = await process_changes(tx, late + new)
        self._count(last, late, new)
        version = place.version
        for key, shown, change in [*_phones(views), *_incidents(incidents)]:
            if self._shown.get(key) != shown:
                self._shown[key] = shown
                version += 1
                self._enter(key, version, place, change)
        for process in changes:
            version += 1
            self._enter(("process", process.process.process_id), version, place, process)
        number = min(self._missing, default=self._highest + 1) - 1
        self._place = replace(place, number=number, at=tx.now, version=version)
        self._read_at = self._monotonic()
        self._fresh = True
        for awake in self._watchers:
            awake.set()

    async def _start(self, tx: Transaction) -> tuple[FarmCursor, int]:
        """Return the place of the last read and the highest number seen, or those of a new reader.

        Nobody watched for a while: what moved since then is for those who ask for it.
        """
        if self._place is not None and self._monotonic() - self._read_at < MISSING_SECONDS:
            return self._place, self._highest
        number = await process_moves.newest_number(tx)
        self._forgotten = 1 if self._place is None else self._place.version
        self._ring.clear()
        self._shown.clear()
        self._missing.clear()
        version = self._forgotten
        return FarmCursor(number=number, at=tx.now, reader=new_id(), version=version), number

    def _count(self, last: int, late: Sequence[Transition], new: Sequence[Transition]) -> None:
        """Note which numbers were seen, and which are missing below the highest."""
        now = self._monotonic()
        for number in (move.number for move in new):
            for missing in range(max(last + 1, number - MOST_MOVES), number):
                self._missing[missing] = now
            last = number
        self._highest = last
        found = {move.number for move in late}
        self._missing = {
            number: since
            for number, since in self._missing.items()
            if number not in found and now - since < MISSING_SECONDS
        }

    def since(self, version: int) -> tuple[list[Change], FarmCursor] | None:
        """Return the oldest changes behind *version*, and their place; None when some are gone."""
        assert self._place is not None  # noqa: S101 - a watcher waits for the first read
        if version < self._forgotten:
            return None
        new: list[_Entry] = []
        for entry in reversed(self._ring.values()):
            if entry.version <= version:
                break
            new.append(entry)
        some = new[::-1][:MOST_AT_ONCE]
        place = self._place
        if len(some) < len(new):
            place = replace(some[-1].before, version=some[-1].version)
        return [entry.change for entry in some], place

    @uninterrupted
    async def since_elsewhere(self, after: FarmCursor) -> list[Change] | None:
        """Return what may have changed behind a place of another reader; None for too much."""
        async with self._database.reading() as tx:
            if tx.now - after.at > LONGEST_ABSENCE:
                return None
            moved = await process_moves.following(tx, after=after.number, limit=MOST_MOVES)
            if len(moved) == MOST_MOVES:
                return None
            views = await view_phones(tx, self._sessions, await phones.all_of(tx))
            incidents = await hosts.recent_of(tx, ended_after=after.at - MARGIN)
            changes = await process_changes(tx, moved)
        fleet = [*_phones(views), *_incidents(incidents)]
        return [*(change for _, _, change in fleet), *changes]

    def _enter(self, key: _Key, version: int, before: FarmCursor, change: Change) -> None:
        self._ring[key] = _Entry(version=version, before=before, change=change)
        self._ring.move_to_end(key)
        while len(self._ring) > REMEMBERED:
            _, gone = self._ring.popitem(last=False)
            self._forgotten = gone.version


class FarmWatcher:
    """A watcher of the farm: a position in the ring."""

    def __init__(self, farm: FarmWatch, after: FarmCursor | None, awake: asyncio.Event) -> None:
        self._farm = farm
        self._after = after
        self._awake = awake
        self._began = False

    async def next(self, *, within: float) -> FarmChanges | None:
        """Return what is new once there is something; None when nothing came in so many seconds."""
        if within <= 0:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                return await self._next()
        return None

    async def _next(self) -> FarmChanges:
        while True:
            self._awake.clear()
            place = self._farm.place
            if place is not None and not self._began:
                began = await self._begin(place)
                self._began = True
                return began
            if place is not None and self._after is not None:
                found = self._farm.since(self._after.version)
                if found is None:
                    return self._reset(place, Reset.TOO_SLOW)
                changes, self._after = found
                if changes:
                    return FarmChanges(cursor=self._after, changes=tuple(changes))
            await self._awake.wait()

    async def _begin(self, place: FarmCursor) -> FarmChanges:
        """Find the place to go on from, and say it."""
        after = self._after
        if after is None:
            return self._reset(place, Reset.CONNECTED)
        if after.reader == place.reader and after.version <= place.version:
            return FarmChanges(cursor=after)
        changes = await self._farm.since_elsewhere(after)
        if changes is None:
            return self._reset(place, Reset.TOO_OLD)
        self._after = place
        return FarmChanges(cursor=place, changes=tuple(changes))

    def _reset(self, place: FarmCursor, why: Reset) -> FarmChanges:
        self._after = place
        return FarmChanges(cursor=place, reset=why)


async def process_changes(tx: Transaction, moved: Sequence[Transition]) -> list[ProcessChange]:
    """Return each process of these transitions once, in the order of their last ones."""
    newest: dict[str, Transition] = {}
    at_work: dict[str, Transition] = {}
    for move in moved:
        newest.pop(move.process_id, None)
        newest[move.process_id] = move
        if move.phone_id is not None or move.account_id is not None:
            at_work[move.process_id] = move
    known = await process_moves.summaries(tx, newest)
    return [
        ProcessChange(
            process=known[process_id],
            newest=move,
            phone_id=at_work.get(process_id, move).phone_id,
            account_id=at_work.get(process_id, move).account_id,
        )
        for process_id, move in newest.items()
        if process_id in known
    ]


_Seen: TypeAlias = tuple[_Key, object, Change]
"""The key of an object, the part that is compared with the last read, and its change."""


def _phones(views: Iterable[PhoneView]) -> Iterator[_Seen]:
    for view in views:
        # An agent renews its lease all the time; watchers do not hear of a renewal.
        lease = None if view.lease is None else replace(view.lease, renewals=0)
        yield ("phone", view.phone.phone_id), replace(view, lease=lease), view


def _incidents(found: dict[str, list[Incident]]) -> Iterator[_Seen]:
    for agent_id, incidents in found.items():
        for incident in incidents:
            key = ("incident", agent_id, incident.incident_id)
            yield key, incident, IncidentChange(agent_id=agent_id, incident=incident)


POLL_SECONDS: Final = 1.0
"""A change by another controller is seen at most this late."""
LEAST_PAUSE_SECONDS: Final = 0.25
"""Changes that are closer together than this are sent together."""
MOST_SHARE: Final = 0.2
"""The reader spends at most this share of the time on reading."""


async def run_farm_watch(liveness: Liveness, *, farm_watch: FarmWatch, wakeups: WakeUps) -> None:
    """Read the farm until cancelled, while somebody watches."""
    while True:
        liveness.beat()
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await farm_watch.wanted.wait()
        except TimeoutError:
            continue
        begun = time.monotonic()
        with logged_errors("farm_watch"):
            await farm_watch.refresh()
        took = time.monotonic() - begun
        await asyncio.sleep(max(LEAST_PAUSE_SECONDS, took * (1 / MOST_SHARE - 1)))
        await wakeups.farm.wait(within=POLL_SECONDS)
