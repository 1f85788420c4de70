"""The receiver limit: few attempts at one host and port at once, so a slow one delays no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from phonefarm_common.clock import Clock
from yarl import URL


class ReceiverBusyError(Exception):
    """No slot at the receiver became free in time."""


class _Receiver:
    """The slots of one receiver, and how many deliveries hold or wait for one."""

    def __init__(self, slots: int, now: float) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.users = 0
        self.changed_at = now


class ReceiverLimits:
    """Gives out slots at receivers; forgets a receiver that no delivery uses."""

    def __init__(self, *, per_receiver: int, patience: float, clock: Clock) -> None:
        self._per_receiver = per_receiver
        self._patience = patience
        self._clock = clock
        self._receivers: dict[str, _Receiver] = {}

    @asynccontextmanager
    async def slot(self, url: str) -> AsyncIterator[None]:
        """Hold a slot at the receiver of *url*.

        ReceiverBusyError when none becomes free within *patience*, and at once when all are taken
        and none was taken or freed for that long.
        """
        name = receiver_of(url)
        there = self._receivers.get(name)
        if there is None:
            there = self._receivers[name] = _Receiver(self._per_receiver, self._now())
        there.users += 1
        try:
            if there.slots.locked() and self._now() - there.changed_at >= self._patience:
                raise ReceiverBusyError(name)
            try:
                async with asyncio.timeout(self._patience):
                    await there.slots.acquire()
            except TimeoutError as error:
                raise ReceiverBusyError(name) from error
            there.changed_at = self._now()
            try:
                yield
            finally:
                there.changed_at = self._now()
                there.slots.release()
        finally:
            there.users -= 1
            if not there.users:
                del self._receivers[name]

    def _now(self) -> float:
        return self._clock.monotonic()


def receiver_of(url: str) -> str:
    """Return host and port of *url* in lower case; the whole text when it is not a URL."""
    try:
        parsed = URL(url)
        return f"{parsed.raw_host}:{parsed.port}".lower()
    except ValueError:
        return url
