"""Alarms: what may be wrong with a controller while it runs, for how long, and what helps.

Threads read and write them: an alarm must be raised also when the event loop stands still.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final, Self

import structlog
from phonefarm_common.reasons import FarmError, Reason

log = structlog.get_logger()


class Verdict(StrEnum):
    """How bad it is: with `fail` work stands still, or nobody can tell."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Sign(StrEnum):
    """What a watchdog watches."""

    LOOP_LAG = "event_loop_late"
    LOOP_SILENT = "loop_silent"
    DATABASE_AWAY = "database_away"
    SCHEDULER_STUCK = "scheduler_stuck"
    DIRTY_OLD = "dirty_old"
    CALLBACKS_LATE = "callbacks_late"
    HERALD_DEAF = "herald_deaf"
    EVIDENCE_AWAY = "evidence_away"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line for people; the remedy is empty only where all is well."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""


_LOG: Final = "read the controller's log, then restart it: runs go on meanwhile"
REMEDIES: Final[Mapping[Sign, tuple[Verdict, str]]] = {
    Sign.LOOP_LAG: (Verdict.FAIL, "give the machine more of a processor; if it lasts: " + _LOG),
    Sign.LOOP_SILENT: (Verdict.FAIL, _LOG),
    Sign.DATABASE_AWAY: (Verdict.FAIL, "see whether PostgreSQL runs and answers; --database"),
    Sign.SCHEDULER_STUCK: (Verdict.FAIL, f"phonefarm processes explain PROCESS; {_LOG}"),
    Sign.DIRTY_OLD: (
        Verdict.WARN,
        "look at the phone and its agent's log; phonefarm phones return PHONE when it is clean",
    ),
    Sign.CALLBACKS_LATE: (
        Verdict.WARN,
        "see that a gateway runs and the receiver answers: phonefarm processes deliveries PROCESS",
    ),
    Sign.HERALD_DEAF: (
        Verdict.WARN,
        "controllers hear each other late: see the log for herald.interrupted, and PostgreSQL's",
    ),
    Sign.EVIDENCE_AWAY: (
        Verdict.WARN,
        "see whether the place of --evidence is there: agents keep what runs leave until it is",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds: how long each may last, and how often it is looked at."""

    look: float = 5
    loop_late: float = 2
    silent_least: float = 10
    """No loop is called silent before this, however short its period."""
    database: float = 5
    stuck: float = 15
    dirty: float = 300
    callbacks: float = 600
    deaf: float = 20

    def scaled(self, factor: float) -> Self:
        """Return the limits times *factor*, but none so short that a busy machine trips it."""
        return replace(
            self,
            **{f.name: max(getattr(self, f.name) * factor, _LEAST[f.name]) for f in fields(self)},
        )


SILENT_PERIODS: Final = 3
"""A loop that has not been round for so many of its periods is silent."""
_LEAST: Final[Mapping[str, float]] = {
    "look": 0.5,
    "loop_late": 2,
    "silent_least": 5,
    "database": 5,
    "stuck": 5,
    "dirty": 10,
    "callbacks": 30,
    "deaf": 20,
}


Key = tuple[Sign, str]
"""A sign, and what it is a sign of where there may be several."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that is wrong now."""

    sign: Sign
    of: str
    told: str
    since: float
    """On the monotonic clock."""


class Pulse:
    """One loop's: it beats at each turn; it rests before the first, and while it waits for work."""

    def __init__(self, period: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.period = period
        self._monotonic = monotonic
        self._last: float | None = None

    def beat(self) -> None:
        """Say that the loop has come round."""
        self._last = self._monotonic()

    def rest(self) -> None:
        """Say that the loop waits for what may never come."""
        self._last = None

    def age(self) -> float:
        """Return the seconds since the last beat; 0 at rest."""
        last = self._last
        return 0.0 if last is None else self._monotonic() - last


class Vitals:
    """Readings and troubles; each trouble is logged when it begins and when it ends."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pulses: dict[str, Pulse] = {}
        self._readings: dict[Key, float] = {}
        self._troubles: dict[Key, Trouble] = {}

    def pulse(self, loop: str, *, period: float) -> Pulse:
        """Return the pulse of a loop that comes round every *period* seconds."""
        self._pulses[loop] = Pulse(period, self._monotonic)
        return self._pulses[loop]

    def silences(self) -> Mapping[str, tuple[float, float]]:
        """Return by loop how long it has been silent, and how long it may be."""
        return {
            loop: (pulse.age(), SILENT_PERIODS * pulse.period)
            for loop, pulse in self._pulses.items()
        }

    def tell(self, sign: Sign, reading: float, wrong: str, *, of: str = "") -> None:
        """Take a reading, and what is wrong with it; empty when nothing is."""
        key, now = (sign, of), self._monotonic()
        with self._lock:
            self._readings[key] = reading
            before = self._troubles.get(key)
            if wrong:
                since = now if before is None else before.since
                self._troubles[key] = Trouble(sign=sign, of=of, told=wrong, since=since)
            else:
                self._troubles.pop(key, None)
        about = {"of": of} if of else {}
        if wrong and before is None:
            log.error("watchdog.raised", sign=str(sign), told=wrong, **about)
        elif before is not None and not wrong:
            lasted = round(now - before.since, 1)
            log.info("watchdog.cleared", sign=str(sign), lasted=lasted, **about)

    def reading(self, sign: Sign) -> float:
        """Return the last reading of a sign that there is one of; not a number before the first."""
        with self._lock:
            return self._readings.get((sign, ""), math.nan)

    def wrong(self, sign: Sign) -> str:
        """Return what is wrong by a sign that there is one of; empty when nothing is."""
        with self._lock:
            trouble = self._troubles.get((sign, ""))
        return "" if trouble is None else trouble.told

    def troubles(self) -> list[Trouble]:
        """Return what is wrong now, the oldest first."""
        with self._lock:
            return sorted(self._troubles.values(), key=lambda trouble: trouble.since)


class Room:
    """`shortage` says in words why there is none; empty while there is room."""

    def __init__(self) -> None:
        self.shortage = ""

    def check(self) -> None:
        """Raise FarmError `storage_full` when nothing new may be taken in."""
        if self.shortage:
            message = f"the controller's data disk is too full for new work: {self.shortage}"
            raise FarmError(Reason.STORAGE_FULL, message)
