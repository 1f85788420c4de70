"""Natural batching: run at once when idle, collect while a run is under way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from phonefarm_controller.alarms import Liveness

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Runs *operation* on all that has arrived since its last run, one run at a time.

    The operation answers each value in order, with a result or with an exception to raise for it. A
    run takes at most *most* groups, each whole. When a run fails as a whole its groups are tried
    one by one, so that one spoils only itself.
    """

    def __init__(
        self, operation: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most: int
    ) -> None:
        self._operation = operation
        self._most = most
        self._waiting: list[tuple[Sequence[T], asyncio.Future[list[R]]]] = []
        self._arrived = asyncio.Event()

    async def do(self, value: T) -> R:
        """Return the operation's answer for *value*, or raise what it answered."""
        return (await self.do_all([value]))[0]

    async def do_all(self, group: Sequence[T]) -> list[R]:
        """Return the operation's answers for the *group*, or raise the first exception of them."""
        future: asyncio.Future[list[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((group, future))
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

    async def _flush(self, batch: list[tuple[Sequence[T], asyncio.Future[list[R]]]]) -> None:
        try:
            answers = iter(await self._operation([value for group, _ in batch for value in group]))
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            if len(batch) > 1:
                for entry in batch:
                    await self._flush([entry])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for group, future in batch:
            own = list(islice(answers, len(group)))
            if future.done():  # the caller went away
                continue
            results = [answer for answer in own if not isinstance(answer, Exception)]
            if len(results) == len(group):
                future.set_result(results)
            else:
                future.set_exception(next(each for each in own if isinstance(each, Exception)))
