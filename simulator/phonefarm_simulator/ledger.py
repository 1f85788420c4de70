"""The ledger: every effect on a phone and every connection to it, in order.

It is what a history checker reads. An entry tells the epoch last written to the phone at that
moment and the adb connection and stream it came by (0 and 0: nobody's hand, say a fault).
"""

import asyncio
import collections
import contextvars
import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LEASE_PATH = "/data/local/tmp/phonefarm-lease"
ENTRIES_IN_MEMORY = 100_000


class Kind(enum.StrEnum):
    """The kinds of entries."""

    CONNECTION_OPENED = "connection_opened"
    CONNECTION_CLOSED = "connection_closed"
    SERVICE_OPENED = "service_opened"
    SERVICE_CLOSED = "service_closed"
    APP_STARTED = "app_started"
    APP_STOPPED = "app_stopped"
    APP_DATA_CLEARED = "app_data_cleared"
    APP_INSTALLED = "app_installed"
    APP_REMOVED = "app_removed"
    SCREEN_SHOWN = "screen_shown"
    SEARCHED = "searched"
    URL_OPENED = "url_opened"
    VIDEO_SHOWN = "video_shown"
    TYPED = "typed"
    TYPING_REFUSED = "typing_refused"
    TAPPED = "tapped"
    SWIPED = "swiped"
    PINCHED = "pinched"
    SCROLLED = "scrolled"
    KEYS_PRESSED = "keys_pressed"
    HOME_PRESSED = "home_pressed"
    PROFILE_SAVED = "profile_saved"
    POSTED = "posted"
    POST_REFUSED = "post_refused"
    MEDIA_INDEXED = "media_indexed"
    MEDIA_FORGOTTEN = "media_forgotten"
    DIALOG_DISMISSED = "dialog_dismissed"
    FILE_WRITTEN = "file_written"
    FILE_REMOVED = "file_removed"
    DIRECTORY_MADE = "directory_made"
    LEASE_WRITTEN = "lease_written"
    SETTING_CHANGED = "setting_changed"
    FAULT_SET = "fault_set"
    FAULT_CLEARED = "fault_cleared"
    REBOOTED = "rebooted"


NOT_EFFECTS = frozenset(
    {
        Kind.CONNECTION_OPENED,
        Kind.CONNECTION_CLOSED,
        Kind.SERVICE_OPENED,
        Kind.SERVICE_CLOSED,
        Kind.FAULT_SET,
        Kind.FAULT_CLEARED,
    }
)
"""Kinds that record who drove the phone and when; all others are effects on the phone."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The adb connection and stream that caused an entry; both count from 1."""

    connection: int = 0
    stream: int = 0


NOBODY = Origin()

origin: contextvars.ContextVar[Origin] = contextvars.ContextVar("origin", default=NOBODY)
"""Set once by the task that serves a connection or a stream; what it does is stamped with it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the ledger; `monotonic` and `wall` in seconds, `detail` as the kind needs it."""

    sequence: int
    serial: str
    kind: Kind
    effect: bool
    monotonic: float
    wall: float
    epoch: int | None
    run: str | None
    agent: str | None
    connection: int
    stream: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The content of the lease file."""

    epoch: int | None = None
    run: str | None = None
    agent: str | None = None


def read_lease(data: bytes) -> Lease:
    """Return the lease in the last JSON line of `data`; an empty one when there is none to read."""
    for line in reversed(data.decode(errors="replace").splitlines()):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            epoch, run, agent = value.get("epoch"), value.get("run"), value.get("agent")
            return Lease(
                epoch=epoch if isinstance(epoch, int) else None,
                run=run if isinstance(run, str) else None,
                agent=agent if isinstance(agent, str) else None,
            )
    return Lease()


class Ledger:
    """A phone's ledger: all entries in a file, the last 100,000 in memory."""

    def __init__(
        self,
        *,
        serial: str,
        directory: Path,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._serial = serial
        self._monotonic = monotonic
        self._wall = wall
        self._sequence = 0
        self._entries: collections.deque[Entry] = collections.deque(maxlen=ENTRIES_IN_MEMORY)
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[Entry], None]] = []
        self._file = (directory / f"{serial}.ledger.jsonl").open("a", encoding="utf-8")
        self.lease = Lease()

    @property
    def sequence(self) -> int:
        """The number of the newest entry; 0 when there is none."""
        return self._sequence

    def close(self) -> None:
        """Close the file; nothing can be recorded afterwards."""
        self._file.close()

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` at once with every entry from now on."""
        self._listeners.append(listener)

    def record(self, kind: Kind, **detail: Any) -> Entry:
        """Append an entry stamped with now, the current lease and the current origin."""
        self._sequence += 1
        by = origin.get()
        entry = Entry(
            sequence=self._sequence,
            serial=self._serial,
            kind=kind,
            effect=kind not in NOT_EFFECTS,
            monotonic=self._monotonic(),
            wall=self._wall(),
            epoch=self.lease.epoch,
            run=self.lease.run,
            agent=self.lease.agent,
            connection=by.connection,
            stream=by.stream,
            detail=detail,
        )
        self._entries.append(entry)
        self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
        self._file.flush()
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener(entry)
        return entry

    def since(self, sequence: int = 0) -> list[Entry]:
        """Return the entries after `sequence` that are still in memory."""
        newer = []
        for entry in reversed(self._entries):
            if entry.sequence <= sequence:
                break
            newer.append(entry)
        newer.reverse()
        return newer

    async def wait_for(
        self, kind: Kind, *, since: int = 0, match: Callable[[Entry], bool] | None = None
    ) -> Entry:
        """Return the first entry of `kind` after `since` that matches; wait until there is one."""
        while True:
            changed = self._changed
            for entry in self.since(since):
                if entry.kind is kind and (match is None or match(entry)):
                    return entry
            await changed.wait()
