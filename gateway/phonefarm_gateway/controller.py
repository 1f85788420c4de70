"""The controller as the gateway sees it: typed calls, and one exception for every way they fail."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

import grpc
import grpc.aio
import structlog
from phonefarm.v1 import callback_pb2, callback_pb2_grpc, process_pb2, process_pb2_grpc
from phonefarm_common.channel import open_channel
from phonefarm_common.reasons import FieldProblem, Reason
from phonefarm_common.timers import Timers

from phonefarm_gateway import convert, schemas
from phonefarm_gateway.answers import Accepted, Cancelled
from phonefarm_gateway.deliveries import Attempt, Delivery, Outcome, Report
from phonefarm_gateway.records import ProcessRecord

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
"""What a code means when its reason is not of our vocabulary; everything else is INTERNAL."""

_Answer = TypeVar("_Answer")
_log = structlog.get_logger()


class RefusedError(Exception):
    """The controller refused a call, or could not be asked: then whether it was done is unknown.

    `reason` is the kind, `text` the whole string for callers: a planner's own reasons are in no
    vocabulary.
    """

    def __init__(
        self, reason: Reason, text: str, message: str, problems: tuple[FieldProblem, ...] = ()
    ) -> None:
        super().__init__(f"{text}: {message}")
        self.reason = reason
        self.text = text
        self.message = message
        self.problems = problems


class Controller:
    """Calls for callers carry their key; calls of the gateway itself carry only its token."""

    def __init__(self, channel: grpc.aio.Channel, *, token: str, gateway_id: str) -> None:
        self._processes = process_pb2_grpc.ProcessServiceStub(channel)
        self._callbacks = callback_pb2_grpc.CallbackServiceStub(channel)
        self._token = token
        self._gateway_id = gateway_id

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, target: str, *, timers: Timers, token: str, gateway_id: str
    ) -> AsyncIterator[Self]:
        """Yield a client of the controller at HOST:PORT; it dials with the first call."""
        async with open_channel(target, timers) as channel:
            yield cls(channel, token=token, gateway_id=gateway_id)

    async def check_key(self, key: str | None, *, scope: str) -> str:
        """Return the name of *key* when it may do what *scope* names; RefusedError otherwise."""
        request = process_pb2.CheckKeyRequest(scope=scope)
        answer = await _asked(self._processes.CheckKey, request, self._metadata(key))
        return answer.name

    async def answers(self) -> bool:
        """Tell whether the controller can be reached and answers calls."""
        try:
            await self.check_key(None, scope="read")
        except RefusedError as refused:
            return refused.reason not in {Reason.CONTROLLER_UNAVAILABLE, Reason.INTERNAL}
        return True

    async def enqueue(self, key: str | None, body: schemas.Enqueue) -> Accepted:
        """Submit work; it is committed when this returns."""
        request = convert.enqueue_request(body)
        return convert.accepted(await _asked(self._processes.Enqueue, request, self._metadata(key)))

    async def process(self, key: str | None, process_id: str) -> ProcessRecord:
        """Return the whole record; RefusedError with UNKNOWN_PROCESS when there is none."""
        request = process_pb2.GetProcessRequest(process_id=process_id)
        return convert.record(
            await _asked(self._processes.GetProcess, request, self._metadata(key))
        )

    async def processes(
        self, key: str | None, *, limit: int, statuses: Sequence[str]
    ) -> list[ProcessRecord]:
        """Return the newest first, at most *limit*; no statuses keeps all."""
        request = process_pb2.ListProcessesRequest(limit=limit, statuses=statuses)
        answer = await _asked(self._processes.ListProcesses, request, self._metadata(key))
        return [convert.record(process) for process in answer.processes]

    async def cancel(self, key: str | None, process_id: str, body: schemas.Cancel) -> Cancelled:
        """Record the wish to cancel; no agent is waited for."""
        request = convert.cancel_request(process_id, body)
        return convert.cancelled(
            await _asked(self._processes.CancelProcess, request, self._metadata(key))
        )

    async def lease(
        self, *, limit: int, wait_seconds: float
    ) -> tuple[list[Delivery], list[Report]]:
        """Return due deliveries, waiting for the first, and reports on any that cannot be read."""
        request = callback_pb2.LeaseDeliveriesRequest(
            gateway_id=self._gateway_id, limit=limit, wait_seconds=wait_seconds
        )
        answer = await _asked(
            self._callbacks.LeaseDeliveries,
            request,
            self._metadata(None),
            seconds=wait_seconds + CALL_SECONDS,
        )
        readable, unreadable = [], []
        for leased in answer.deliveries:
            try:
                readable.append(convert.delivery(leased))
            except ValueError as error:
                # One bad record must not stop the others, nor be tried by nobody in silence.
                _log.error(
                    "delivery.found_unreadable", delivery_id=leased.delivery_id, exc_info=error
                )
                attempt = Attempt(outcome=Outcome.FAILED, error="the record is unreadable")
                unreadable.append(attempt.reported(leased.delivery_id, leased.lease_token))
        return readable, unreadable

    async def report(self, reports: Sequence[Report]) -> int:
        """Settle attempts; return how many were taken (a lost lease is not)."""
        request = callback_pb2.ReportDeliveriesRequest(
            gateway_id=self._gateway_id, reports=[convert.report(one) for one in reports]
        )
        answer = await _asked(self._callbacks.ReportDeliveries, request, self._metadata(None))
        return len(answer.settled_delivery_ids)

    def _metadata(self, key: str | None) -> tuple[tuple[str, str], ...]:
        metadata = ((GATEWAY_TOKEN, self._token),)
        return metadata if key is None else (*metadata, ("authorization", f"Bearer {key}"))


async def _asked(
    call: Callable[..., Awaitable[_Answer]],
    request: object,
    metadata: tuple[tuple[str, str], ...],
    *,
    seconds: float = CALL_SECONDS,
) -> _Answer:
    """Make one call; RefusedError says why there is no answer."""
    try:
        return await call(request, metadata=metadata, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        raise _refused(error) from error


def _refused(error: grpc.aio.AioRpcError) -> RefusedError:
    # The stubs describe the synchronous API's metadata; this one has pairs.
    trailing: Any = error.trailing_metadata() or ()
    details = dict(trailing).get("grpc-status-details-bin")
    told = convert.refusal(details) if isinstance(details, bytes) else None
    by_code = _REASONS.get(error.code(), Reason.INTERNAL)
    if told is None:
        if by_code is Reason.CONTROLLER_UNAVAILABLE:
            return RefusedError(by_code, by_code, "the controller cannot be reached; try again")
        _log.warning("controller.refused_unexplained", code=error.code().name, said=error.details())
        if by_code is Reason.INTERNAL:
            return RefusedError(by_code, by_code, "the controller failed; its log says why")
        return RefusedError(by_code, by_code, error.details() or "the controller gave no reason")
    text, message, problems = told
    try:
        reason = Reason(text.partition(":")[0])
    except ValueError:
        reason = by_code
    return RefusedError(reason, text, message or text, problems)
