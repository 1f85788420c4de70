"""Calls one method of a stub: with the caller's key, a deadline, and refusals as one exception."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, Generic, TypeVar

import grpc
import grpc.aio
import structlog
from phonefarm_common.call_status import CallStatus
from phonefarm_common.reasons import FieldProblem, Reason
from phonefarm_common.rpc_errors import refusal
from phonefarm_common.trace_context import TRACEPARENT, current_traceparent

CALL_SECONDS: Final = 10.0
GATEWAY_TOKEN: Final = "x-phonefarm-gateway-token"  # noqa: S105 - the name of a header

_REASONS: Final = {
    grpc.StatusCode.UNAVAILABLE: Reason.CONTROLLER_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.CONTROLLER_UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Reason.CONTROLLER_UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: Reason.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: Reason.INSUFFICIENT_SCOPE,
    grpc.StatusCode.NOT_FOUND: Reason.UNKNOWN_PROCESS,
    grpc.StatusCode.ABORTED: Reason.STATE_CONFLICT,
    grpc.StatusCode.ALREADY_EXISTS: Reason.STATE_CONFLICT,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.INVALID_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: Reason.INVALID_REQUEST,
}
"""The reasons for codes that come without a known reason; INTERNAL for every other code."""

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_log = structlog.get_logger()


class RefusedError(Exception):
    """The controller refused a call; or it did not answer, and nobody knows whether it acted.

    `reason` is the known reason, `text` the whole reason for callers: planners add reasons of their
    own that are no `Reason`.
    """

    def __init__(
        self, reason: Reason, text: str, message: str, problems: tuple[FieldProblem, ...] = ()
    ) -> None:
        super().__init__(f"{text}: {message}")
        self.reason = reason
        self.text = text
        self.message = message
        self.problems = problems


class RpcCaller:
    """Calls stubs: for callers with their key, and for the gateway itself with its token."""

    def __init__(self, *, token: str) -> None:
        self._token = token

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Answer]",
        request: _Request,
        *,
        key: str | None,
        seconds: float = CALL_SECONDS,
    ) -> _Answer:
        """Call one method of a stub; RefusedError says why there is no answer."""
        try:
            return await method(request, metadata=self._metadata(key), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _refused(error) from error

    @asynccontextmanager
    async def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Answer]",
        request: _Request,
        *,
        key: str | None,
    ) -> AsyncIterator[AsyncIterator[_Answer]]:
        """Yield the messages of a streaming method; the call ends with the block."""
        sent: Any = method(request, metadata=self._metadata(key))
        async with aclosing(sent) as stream:
            yield _answers(stream)

    @asynccontextmanager
    async def duplex(
        self, method: "grpc.aio.StreamStreamMultiCallable[_Request, _Answer]", *, key: str | None
    ) -> "AsyncIterator[DuplexCall[_Request, _Answer]]":
        """Yield a call that sends and receives; it ends with the block."""
        begin: Any = method  # the stubs know no call that is written to later
        sent = begin(metadata=self._metadata(key))
        try:
            yield DuplexCall(sent)
        finally:
            sent.cancel()

    def _metadata(self, key: str | None) -> tuple[tuple[str, str], ...]:
        # A gateway that joined has a certificate instead of a token.
        metadata = ((GATEWAY_TOKEN, self._token),) if self._token else ()
        traceparent = current_traceparent()
        if traceparent is not None:
            metadata = (*metadata, (TRACEPARENT, traceparent))
        return metadata if key is None else (*metadata, ("authorization", f"Bearer {key}"))


class DuplexCall(Generic[_Request, _Answer]):
    """A call in progress that sends and receives."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._status = CallStatus(call)

    async def send(self, request: _Request) -> None:
        """Send a message; nothing happens when the call has ended: `answers` says why."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(request)

    def answers(self) -> AsyncIterator[_Answer]:
        """Yield the messages until the call ends; RefusedError says why it was refused."""
        return _answers(self._call, self._status)


async def _answers(stream: Any, status: CallStatus | None = None) -> AsyncIterator[Any]:
    try:
        async for message in stream:
            yield message
    except grpc.aio.AioRpcError as error:
        refused = await status.error(error) if status else error
        if refused is not None:
            raise _refused(refused) from error


def _refused(error: grpc.aio.AioRpcError) -> RefusedError:
    told = refusal(error.trailing_metadata())
    by_code = _REASONS.get(error.code(), Reason.INTERNAL)
    if told is None:
        if by_code is Reason.CONTROLLER_UNAVAILABLE:
            return RefusedError(by_code, by_code, "the controller does not answer; try again")
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return RefusedError(
                by_code,
                by_code,
                "the controller is older than this gateway: upgrade the controller",
            )
        _log.warning(
            "controller.refused_without_reason", code=error.code().name, said=error.details()
        )
        if by_code is Reason.INTERNAL:
            return RefusedError(
                by_code, by_code, "the controller failed; its log contains the cause"
            )
        return RefusedError(
            by_code, by_code, error.details() or ("the controller did not give a reason")
        )
    try:
        reason = Reason(told.reason.partition(":")[0])
    except ValueError:
        reason = by_code
    return RefusedError(reason, told.reason, told.message or told.reason, told.problems)
