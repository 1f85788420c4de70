"""A wall clock that somebody sets, as an administrator or a late NTP does."""

from datetime import UTC, datetime, timedelta

import pytest
from phonefarm_common.clock import SystemClock


class SteppedClock:
    """The programs of this process read this one; the monotonic clocks go on as they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = timedelta()
        monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + self.off)

    def step(self, **units: float) -> None:
        """Set the clock forward, or back."""
        self.off += timedelta(**units)
