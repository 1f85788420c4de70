"""How a controller is: what its watchdogs see, for its log, its metrics and whoever asks.

Threads read and write it: what is wrong must be told also when the event loop stands still.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from phonefarm_controller.alarms.catalog import SILENT_PERIODS, Sign

log = structlog.get_logger()

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
