"""Turns at receivers: each host and port has few, so that a slow one delays only its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from phonefarm_common.clock import Clock
from yarl import URL


class BusyError(Exception):
    """A receiver had no turn to give in time."""


class _Receiver:
    """The turns of one host and port."""

    def __init__(self, turns: int, now: float) -> None:
        self.turns = asyncio.Semaphore(turns)
        self.visitors = 0
        self.moved_at = now


class Receivers:
    """Gives out turns; remembers a receiver only while someone is there."""

    def __init__(self, *, per_receiver: int, patience: float, clock: Clock) -> None:
        self._per_receiver = per_receiver
        self._patience = patience
        self._clock = clock
        self._receivers: dict[str, _Receiver] = {}

    @asynccontextmanager
    async def turn(self, url: str) -> AsyncIterator[None]:
        """Hold a turn at the receiver of *url*; BusyError after the patience, or at once if stuck.

        A receiver is stuck when its turns are all taken and none began or ended for that long.
        """
        name = receiver(url)
        there = self._receivers.get(name)
        if there is None:
            there = self._receivers[name] = _Receiver(self._per_receiver, self._now())
        there.visitors += 1
        try:
            if there.turns.locked() and self._now() - there.moved_at >= self._patience:
                raise BusyError(name)
            try:
                async with asyncio.timeout(self._patience):
                    await there.turns.acquire()
            except TimeoutError as error:
                raise BusyError(name) from error
            there.moved_at = self._now()
            try:
                yield
            finally:
                there.moved_at = self._now()
                there.turns.release()
        finally:
            there.visitors -= 1
            if not there.visitors:
                del self._receivers[name]

    def _now(self) -> float:
        return self._clock.monotonic()


def receiver(url: str) -> str:
    """Return host and port of *url* in lower case; the whole text when it is not a URL."""
    try:
        parsed = URL(url)
        return f"{parsed.raw_host}:{parsed.port}".lower()
    except ValueError:
        return url
