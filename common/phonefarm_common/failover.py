"""A gRPC channel to several controllers: each call goes to one that answers.

gRPC's own lists of addresses do not do: they take numbers only, while TLS goes by the name of each
host, and they leave an address for a broken connection, but not for one that answers UNAVAILABLE
(a controller that has lost its database).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from phonefarm_common.endpoints import EndpointSelector

READY_SECONDS: Final = 2.5
"""A connection may take this long: a little more than one attempt of gRPC (`common/channel`)."""

LEAST_SECONDS: Final = 0.5
"""A call gets at least this long, even if silent controllers have used up its time."""

_READY: Final = grpc.ChannelConnectivity.READY
_FAILED: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE

log = structlog.get_logger()


class FailoverChannel:
    """A channel for stubs that fails over between controllers.

    A call that met UNAVAILABLE is made again elsewhere when *repeatable* says that of its path
    (`/phonefarm.v1.ProcessService/Enqueue`): doing it twice is as good as once. Any other call is
    made only over a connection that stands, so that it is surely not sent before; once made, its
    failure is the caller's to judge. With one controller every call is made once.
    """

    def __init__(
        self,
        choice: EndpointSelector,
        *,
        dial: Callable[[str], grpc.aio.Channel],
        repeatable: Callable[[str], bool],
    ) -> None:
        self._choice = choice
        self._dial = dial
        self._repeatable = repeatable
        self._channels: dict[str, grpc.aio.Channel] = {}

    def unary_unary(self, path: str, *given: Any, **options: Any) -> Callable[..., Any]:
        """Return the call; its *timeout* is for all tries together."""

        async def call(request: Any, *, timeout: float | None = None, **how: Any) -> Any:
            loop = asyncio.get_running_loop()
            ends = None if timeout is None else loop.time() + timeout
            async for target, last in self._tries(path):
                made = self._channel(target).unary_unary(path, *given, **options)
                left = None if ends is None else max(ends - loop.time(), LEAST_SECONDS)
                try:
                    answer = await made(request, timeout=left, **how)
                except grpc.aio.AioRpcError as error:
                    if not self._try_next(path, target, error, last=last):
                        raise
                else:
                    self._choice.answered(target)
                    return answer
            raise AssertionError("the last try returns or raises")

        return call

    def unary_stream(
        self, path: str, *given: Any, **options: Any
    ) -> Callable[..., AsyncGenerator[Any, None]]:
        """Return the call; it may be repeated until its first answer."""

        async def call(request: Any, **how: Any) -> AsyncGenerator[Any, None]:
            async for target, last in self._tries(path):
                stream = self._channel(target).unary_stream(path, *given, **options)(request, **how)
                heard = False
                try:
                    async for answer in stream:
                        heard = True
                        self._choice.answered(target)
                        yield answer
                except grpc.aio.AioRpcError as error:
                    if not self._try_next(path, target, error, last=last or heard):
                        raise
                else:
                    return
                finally:
                    stream.cancel()

        return call

    def stream_unary(self, *given: Any, **options: Any) -> Callable[..., Any]:
        """Return the call; it is made once, at the selected controller."""
        return lambda *asked, **how: self._current().stream_unary(*given, **options)(*asked, **how)

    def stream_stream(self, *given: Any, **options: Any) -> Callable[..., Any]:
        """Return the call; it is made once, at the selected controller."""
        return lambda *asked, **how: self._current().stream_stream(*given, **options)(*asked, **how)

    def renewed(self, choice: EndpointSelector | None = None) -> list[grpc.aio.Channel]:
        """Open new channels for the next calls; return the old ones, to be closed.

        *choice* is of other controllers than before.
        """
        self._choice = choice or self._choice
        old, self._channels = list(self._channels.values()), {}
        return old

    async def close(self, grace: float | None = None) -> None:
        """Close every channel."""
        for channel in self.renewed():
            await channel.close(grace)

    async def _tries(self, path: str) -> AsyncIterator[tuple[str, bool]]:
        """Yield the controllers to try, each at most once, and whether it is the last."""
        for left in reversed(range(len(self._choice))):
            target = self._choice.current
            if not left or self._repeatable(path) or await self._is_connected(target):
                yield target, not left

    async def _is_connected(self, target: str) -> bool:
        """Tell whether the connection is ready, or becomes so in time."""
        channel = self._channel(target)
        state = channel.get_state(try_to_connect=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while state not in {_READY, _FAILED}:
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        if state is _READY:
            return True
        self._mark_failed(target, "no connection")
        return False

    def _current(self) -> grpc.aio.Channel:
        return self._channel(self._choice.current)

    def _channel(self, target: str) -> grpc.aio.Channel:
        if target not in self._channels:
            self._channels[target] = self._dial(target)
        return self._channels[target]

    def _try_next(self, path: str, target: str, error: grpc.aio.AioRpcError, *, last: bool) -> bool:
        """Tell whether to repeat the call elsewhere; leave a controller that is unavailable."""
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return False
        self._mark_failed(target, error.details() or "unavailable")
        return not last and self._repeatable(path)

    def _mark_failed(self, target: str, why: str) -> None:
        self._choice.failed(target)
        if len(self._choice) > 1:
            log.warning(
                "controller.failed_over", controller=target, why=why, next=self._choice.current
            )
