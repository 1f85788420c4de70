"""Natural batching: run at once when idle, collect while a run is under way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from phonefarm_controller.alarms import Liveness

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Runs *operation* on everything that came since its last run, one run at a time.

    The operation answers each value in order, with a result or with an exception to raise for it.
    When a run fails as a whole its values are tried one by one, so that one spoils only itself.
    """

    def __init__(
        self, operation: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most: int
    ) -> None:
        self._operation = operation
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._arrived = asyncio.Event()

    async def do(self, value: T) -> R:
        """Return the operation's answer for *value*, or raise what it answered."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((value, future))
        self._arrived.set()
        return await future

    async def run(self, liveness: Liveness) -> None:
        """Flush until cancelled."""
        while True:
            liveness.rest()
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                liveness.beat()
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._flush(batch)

    async def _flush(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        answers: Sequence[R | Exception]
        try:
            answers = await self._operation([value for value, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            if len(batch) > 1:
                for entry in batch:
                    await self._flush([entry])
                return
            answers = [error]
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # the caller went away
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
