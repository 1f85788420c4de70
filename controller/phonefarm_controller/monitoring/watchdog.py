"""The watchman: a thread that sees when the event loop, or a loop in it, stands still."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from phonefarm_controller.alarms import Limits, Sign, Vitals

log = structlog.get_logger()


class Watchman:
    """One thread; made by `watchman`."""

    def __init__(self, vitals: Vitals, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._vitals = vitals
        self._limits = limits
        self._loop = loop
        self._over = threading.Event()
        self._turned = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchman", daemon=True)

    def stop(self) -> None:
        """Watch no more. Does not wait: the thread may itself be waiting for the caller's loop."""
        self._over.set()
        self._turned.set()

    def _watch(self) -> None:
        judged_from = 0.0
        while not self._over.wait(self._limits.look / 5):
            try:
                late = self._lag()
                if late:  # The loops need a moment to come round again.
                    judged_from = time.monotonic() + self._limits.silent_least
                elif time.monotonic() >= judged_from and not self._over.is_set():
                    self._look_at_loops()
            except RuntimeError:
                return  # the event loop is closed
            except Exception:
                log.exception("loop.crashed", loop="watchdog")

    def _lag(self) -> bool:
        """Have the event loop turn once, telling as long as it does not; true when it was late."""
        self._turned.clear()
        asked = time.monotonic()
        self._loop.call_soon_threadsafe(self._turned.set)
        limit, late = self._limits.loop_late, False
        while not self._turned.wait(limit):
            late = True
            lag = time.monotonic() - asked
            self._vitals.tell(Sign.LOOP_LAG, lag, f"event loop blocked for {lag:.1f} s")
        if not self._over.is_set():
            self._vitals.tell(Sign.LOOP_LAG, time.monotonic() - asked, "")
        return late

    def _look_at_loops(self) -> None:
        for loop, (silent, allowed) in self._vitals.silences().items():
            limit = max(allowed, self._limits.silent_least)
            wrong = ""
            if silent > limit:
                wrong = f"loop {loop} has made no progress for {silent:.0f} s (limit {limit:.0f} s)"
            self._vitals.tell(Sign.LOOP_SILENT, silent, wrong, of=loop)


@asynccontextmanager
async def watchman(vitals: Vitals, limits: Limits) -> AsyncIterator[None]:
    """Watch the running event loop while the block runs."""
    man = Watchman(vitals, limits, asyncio.get_running_loop())
    man.thread.start()
    try:
        yield
    finally:
        man.stop()
        await asyncio.to_thread(man.thread.join, limits.look)
