"""The watchdog: a thread that raises an alarm when the event loop, or a loop in it, is stuck."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from phonefarm_controller.alarms import AlarmName, Alarms, Limits

log = structlog.get_logger()


class Watchdog:
    """The thread; started by `watchdog`."""

    def __init__(self, alarms: Alarms, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._alarms = alarms
        self._limits = limits
        self._loop = loop
        self._over = threading.Event()
        self._turned = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def stop(self) -> None:
        """Stop watching, without waiting: the thread may itself wait for the caller's loop."""
        self._over.set()
        self._turned.set()

    def _watch(self) -> None:
        judged_from = 0.0
        while not self._over.wait(self._limits.interval / 5):
            try:
                late = self._lag()
                if late:  # The loops need a moment to iterate again.
                    judged_from = time.monotonic() + self._limits.silent_least
                elif time.monotonic() >= judged_from and not self._over.is_set():
                    self._check_loops()
            except RuntimeError:
                return  # the event loop is closed
            except Exception:
                log.exception("loop.crashed", loop="watchdog")

    def _lag(self) -> bool:
        """Have the event loop turn once, with an alarm while it does not; true when it was late."""
        self._turned.clear()
        asked = time.monotonic()
        self._loop.call_soon_threadsafe(self._turned.set)
        limit, late = self._limits.loop_late, False
        while not self._turned.wait(limit):
            late = True
            lag = time.monotonic() - asked
            self._alarms.tell(AlarmName.LOOP_LAG, lag, f"event loop blocked for {lag:.1f} s")
        if not self._over.is_set():
            self._alarms.tell(AlarmName.LOOP_LAG, time.monotonic() - asked, "")
        return late

    def _check_loops(self) -> None:
        for loop, (silent, allowed) in self._alarms.silences().items():
            limit = max(allowed, self._limits.silent_least)
            wrong = ""
            if silent > limit:
                wrong = f"loop {loop} has made no progress for {silent:.0f} s (limit {limit:.0f} s)"
            self._alarms.tell(AlarmName.LOOP_SILENT, silent, wrong, of=loop)


@asynccontextmanager
async def watchdog(alarms: Alarms, limits: Limits) -> AsyncIterator[None]:
    """Watch the running event loop while the block runs."""
    dog = Watchdog(alarms, limits, asyncio.get_running_loop())
    dog.thread.start()
    try:
        yield
    finally:
        dog.stop()
        await asyncio.to_thread(dog.thread.join, limits.interval)
