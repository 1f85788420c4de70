"""The clocks; they are passed in, so that tests can choose the time."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic clock."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC. Never compare it with another machine's."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back and go on while the machine is suspended or frozen."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return CLOCK_BOOTTIME, which counts suspended time too (clock_gettime(2))."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
