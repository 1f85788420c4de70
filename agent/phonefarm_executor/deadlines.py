"""The limits of the run: its cap, the limit of each action, and the order to stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from phonefarm_executor.failures import Code, FailedError, StoppedError
from phonefarm_executor.signals import Signals

LOOK_SECONDS = 0.5
"""Every wait checks this often for an order to stop; the promise is once a second."""


class Pace:
    """Limits every wait of the run; seconds are of `time.monotonic()`."""

    def __init__(self, signals: Signals, *, cap_seconds: float) -> None:
        self._signals = signals
        self._cap_seconds = cap_seconds
        self._cap = time.monotonic() + cap_seconds
        self._limit: float | None = None
        self._limit_text = ""
        self._shielded = False

    @contextmanager
    def limited(self, seconds: float, what: str, *, shielded: bool = False) -> Iterator[None]:
        """Limit the block to *seconds*; a stop does not interrupt a *shielded* block."""
        before = self._limit, self._limit_text, self._shielded
        self._limit, self._limit_text = time.monotonic() + seconds, f"{what}: limit {seconds:g} s"
        self._shielded = shielded
        try:
            yield
        finally:
            self._limit, self._limit_text, self._shielded = before

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """Give the block as long as it takes, and the running block that much more."""
        before, begun = self._limit, time.monotonic()
        self._limit = None
        try:
            yield
        finally:
            self._limit = None if before is None else before + time.monotonic() - begun

    @contextmanager
    def apart(self, seconds: float, what: str) -> Iterator[None]:
        """Give the block *seconds* of its own, and none of the running block's."""
        begun = time.monotonic()
        try:
            with self.limited(seconds, what, shielded=self._shielded):
                yield
        finally:
            self.extend(time.monotonic() - begun)

    def extend(self, seconds: float) -> None:
        """Give the running block *seconds* more: time that was not its own."""
        if self._limit is not None:
            self._limit += seconds

    def check(self) -> None:
        """Return when the run may go on; StoppedError, `run_timeout` or `action_timeout` if not."""
        if self._signals.stop_reason is not None and not self._shielded:
            raise StoppedError(self._signals.stop_reason)
        now = time.monotonic()
        if now >= self._cap:
            raise FailedError(
                Code.RUN_TIMEOUT, f"the run has reached its time limit of {self._cap_seconds:g} s"
            )
        if self._limit is not None and now >= self._limit:
            raise FailedError(Code.ACTION_TIMEOUT, f"{self._limit_text} is over")

    def remaining(self) -> float:
        """Return seconds until the nearest of limit and cap."""
        ends = self._cap if self._limit is None else min(self._cap, self._limit)
        return max(0.0, ends - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Return after *seconds*; raises what `check` raises as soon as it would."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            self._signals.wait(self._is_stopping, min(left, self.remaining(), LOOK_SECONDS))

    def _is_stopping(self) -> bool:
        return self._signals.stop_reason is not None and not self._shielded
