"""Keeps the status that a server gave a call: grpc.aio loses it when a write fails as a call ends.

The failed write replaces the status with INTERNAL "Internal error from Core", before or after the
server's arrives: https://github.com/grpc/grpc/issues/36066.
"""

import asyncio
from typing import Any, Final

import grpc
import grpc.aio

_CORE_FAILED: Final = "Internal error from Core"
_SECONDS: Final = 1.0  # the server's status comes in the same moment, or the write failed without


class CallStatus:
    """The status of one call that writes a stream; made before the call is first used."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._given: asyncio.Future[grpc.aio.AioRpcError | None] = (
            asyncio.get_running_loop().create_future()
        )
        call.add_done_callback(self._keep)

    async def error(self, raised: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError | None:
        """Return the server's own error where *raised* hides it, otherwise *raised*.

        None says that the server ended the call well.
        """
        if not _is_cores_own(raised):
            return raised
        await asyncio.wait({self._given}, timeout=_SECONDS)
        return self._given.result() if self._given.done() else raised

    def _keep(self, _call: Any) -> None:
        # Called at once for each status that the call gets, so that none replaces another unseen.
        code, details = _now(self._call.code()), _now(self._call.details())
        trailers = _now(self._call.trailing_metadata())
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details, "")
        if not _is_cores_own(error) and not self._given.done():
            self._given.set_result(None if code is grpc.StatusCode.OK else error)


def _is_cores_own(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _CORE_FAILED


def _now(coroutine: Any) -> Any:
    """Return the result of a *coroutine* that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise RuntimeError("a call that has ended does not know its status")
