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


class Severity(StrEnum):
    """How bad a finding is; `fail` means that work has stopped, or may have stopped."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class AlarmName(StrEnum):
    """The condition that an alarm is about."""

    LOOP_LAG = "event_loop_late"
    LOOP_SILENT = "loop_silent"
    DATABASE_AWAY = "database_away"
    SCHEDULER_STUCK = "scheduler_stuck"
    DIRTY_OLD = "dirty_old"
    CALLBACKS_LATE = "callbacks_late"
    NOTIFIER_SILENT = "notifier_silent"
    EVIDENCE_AWAY = "evidence_away"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report; the remedy is empty only if nothing is wrong."""

    check: str
    verdict: Severity
    text: str
    remedy: str = ""


_LOG: Final = (
    "read the controller's log, then restart the controller; runs continue during the restart"
)
REMEDIES: Final[Mapping[AlarmName, tuple[Severity, str]]] = {
    AlarmName.LOOP_LAG: (
        Severity.FAIL,
        "give the machine more CPU; if the alarm does not end, " + _LOG,
    ),
    AlarmName.LOOP_SILENT: (Severity.FAIL, _LOG),
    AlarmName.DATABASE_AWAY: (
        Severity.FAIL,
        "check that PostgreSQL is running and answers, and that --database is correct",
    ),
    AlarmName.SCHEDULER_STUCK: (
        Severity.FAIL,
        f"`phonefarm processes explain PROCESS` gives the reason; {_LOG}",
    ),
    AlarmName.DIRTY_OLD: (
        Severity.WARN,
        (
            "check the phone, and read its agent's log; when the phone is clean, run `phonefarm "
            "phones return PHONE --reason TEXT`"
        ),
    ),
    AlarmName.CALLBACKS_LATE: (
        Severity.WARN,
        (
            "check that a gateway is running and that the receiver responds; `phonefarm processes "
            "deliveries PROCESS` shows the attempts"
        ),
    ),
    AlarmName.NOTIFIER_SILENT: (
        Severity.WARN,
        (
            "the controllers learn about each other's changes late: look for notifier.interrupted "
            "in their logs, and read PostgreSQL's log"
        ),
    ),
    AlarmName.EVIDENCE_AWAY: (
        Severity.WARN,
        (
            "check the directory or bucket that --evidence names; until it is available again, "
            "the agents keep the runs' evidence"
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long each condition may last before its alarm, and the time between checks; seconds."""

    interval: float = 5
    loop_late: float = 2
    silent_least: float = 10
    """A loop that has iterated within this many seconds is not silent, however short its period."""
    database: float = 5
    stuck: float = 15
    dirty: float = 300
    callbacks: float = 600
    notifier: float = 20

    def scaled(self, factor: float) -> Self:
        """Return the limits times *factor*, none so short that a busy machine raises its alarm."""
        return replace(
            self,
            **{f.name: max(getattr(self, f.name) * factor, _LEAST[f.name]) for f in fields(self)},
        )


SILENT_PERIODS: Final = 3
"""A loop is silent when it has not iterated for this many of its periods."""
_LEAST: Final[Mapping[str, float]] = {
    "interval": 0.5,
    "loop_late": 2,
    "silent_least": 5,
    "database": 5,
    "stuck": 5,
    "dirty": 10,
    "callbacks": 30,
    "notifier": 20,
}


Key = tuple[AlarmName, str]
"""An alarm's name, and its subject if the name can have several alarms."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A condition that is wrong now."""

    name: AlarmName
    of: str
    text: str
    since: float
    """A time on the monotonic clock."""


class Liveness:
    """When a loop last iterated; at rest before the first time and while it waits for work."""

    def __init__(self, period: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.period = period
        self._monotonic = monotonic
        self._last: float | None = None

    def beat(self) -> None:
        """Record that the loop has begun an iteration."""
        self._last = self._monotonic()

    def rest(self) -> None:
        """Note that the loop waits for something that may never come."""
        self._last = None

    def age(self) -> float:
        """Return the seconds since the last beat; 0 at rest."""
        last = self._last
        return 0.0 if last is None else self._monotonic() - last


class Alarms:
    """Readings, and the alarms they raise; each is logged when raised and when cleared."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._liveness: dict[str, Liveness] = {}
        self._readings: dict[Key, float] = {}
        self._active: dict[Key, Alarm] = {}

    def liveness(self, loop: str, *, period: float) -> Liveness:
        """Return the liveness of a loop that iterates every *period* seconds."""
        self._liveness[loop] = Liveness(period, self._monotonic)
        return self._liveness[loop]

    def silences(self) -> Mapping[str, tuple[float, float]]:
        """Return by loop the seconds since it last iterated, and how many it may take."""
        return {
            loop: (liveness.age(), SILENT_PERIODS * liveness.period)
            for loop, liveness in self._liveness.items()
        }

    def tell(self, name: AlarmName, reading: float, wrong: str, *, of: str = "") -> None:
        """Take a reading; raise the alarm with the text *wrong*, or clear it when that is empty."""
        key, now = (name, of), self._monotonic()
        with self._lock:
            self._readings[key] = reading
            before = self._active.get(key)
            if wrong:
                since = now if before is None else before.since
                self._active[key] = Alarm(name=name, of=of, text=wrong, since=since)
            else:
                self._active.pop(key, None)
        about = {"of": of} if of else {}
        if wrong and before is None:
            log.error("alarm.raised", alarm=str(name), text=wrong, **about)
        elif before is not None and not wrong:
            lasted = round(now - before.since, 1)
            log.info("alarm.cleared", alarm=str(name), lasted=lasted, **about)

    def reading(self, name: AlarmName) -> float:
        """Return the last reading of a condition without subject; NaN before the first."""
        with self._lock:
            return self._readings.get((name, ""), math.nan)

    def wrong(self, name: AlarmName) -> str:
        """Return the text of an alarm without subject; empty when it is not raised."""
        with self._lock:
            alarm = self._active.get((name, ""))
        return "" if alarm is None else alarm.text

    def active(self) -> list[Alarm]:
        """Return the raised alarms, the oldest first."""
        with self._lock:
            return sorted(self._active.values(), key=lambda alarm: alarm.since)


class DiskAlarm:
    """Refuses new work while the data disk is short of space; `shortage` says why, or is empty."""

    def __init__(self) -> None:
        self.shortage = ""

    def check(self) -> None:
        """Raise FarmError `storage_full` while the controller refuses new work."""
        if self.shortage:
            message = f"the controller's data disk is too full for new work: {self.shortage}"
            raise FarmError(Reason.STORAGE_FULL, message)
