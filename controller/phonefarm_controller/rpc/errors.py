"""Translates reasons to gRPC codes, with google.rpc details."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.model.errors import DatabaseBusyError

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


Code = grpc.StatusCode

CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    Reason.GATEWAY_TOKEN_REFUSED: Code.UNAUTHENTICATED,
    Reason.NO_SECRET_CONFIGURED: Code.FAILED_PRECONDITION,
    Reason.INSUFFICIENT_SCOPE: Code.PERMISSION_DENIED,
    Reason.UNKNOWN_PROCESS: Code.NOT_FOUND,
    Reason.UNKNOWN_ACCOUNT: Code.NOT_FOUND,
    Reason.INACTIVE_ACCOUNT: Code.NOT_FOUND,
    Reason.UNKNOWN_PHONE: Code.NOT_FOUND,
    Reason.INACTIVE_PHONE: Code.NOT_FOUND,
    Reason.UNKNOWN_GROUP: Code.NOT_FOUND,
    Reason.UNKNOWN_SCHEDULE: Code.NOT_FOUND,
    Reason.UNKNOWN_CONTENT: Code.NOT_FOUND,
    Reason.UNKNOWN_QUEUE_ITEM: Code.NOT_FOUND,
    Reason.UNKNOWN_EVIDENCE: Code.NOT_FOUND,
    Reason.EVIDENCE_REMOVED: Code.NOT_FOUND,
    Reason.UNKNOWN_KEY: Code.NOT_FOUND,
    Reason.STATE_CONFLICT: Code.FAILED_PRECONDITION,
    Reason.SCREEN_UNAVAILABLE: Code.FAILED_PRECONDITION,
    Reason.TOO_MANY_SCREENS: Code.RESOURCE_EXHAUSTED,
    Reason.UNKNOWN_TICKET: Code.NOT_FOUND,
    Reason.IDENTITY_CLONED: Code.FAILED_PRECONDITION,
    Reason.AGENT_TOO_OLD: Code.FAILED_PRECONDITION,
    Reason.TIME_SCALE_DIFFERS: Code.FAILED_PRECONDITION,
    Reason.CONTROLLER_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.EVIDENCE_AWAY: Code.RESOURCE_EXHAUSTED,
    Reason.STORAGE_FULL: Code.RESOURCE_EXHAUSTED,
    Reason.INVITATION_REFUSED: Code.UNAUTHENTICATED,
    Reason.JOINING_CLOSED: Code.FAILED_PRECONDITION,
    Reason.MEMBER_ID_TAKEN: Code.ALREADY_EXISTS,
    Reason.UNKNOWN_MEMBER: Code.NOT_FOUND,
    Reason.CERTIFICATE_REFUSED: Code.UNAUTHENTICATED,
    Reason.ROLE_NOT_ALLOWED: Code.PERMISSION_DENIED,
    Reason.AGENT_ID_NOT_YOURS: Code.PERMISSION_DENIED,
    Reason.INTERNAL: Code.INTERNAL,
}
"""The codes of reasons; every other reason is INVALID_ARGUMENT."""


LONGEST_REASON: Final = 256
LONGEST_SENTENCE: Final = 1000
LONGEST_FIELD: Final = 200
LONGEST_PROBLEM: Final = 300
MOST_PROBLEMS: Final = 10
"""An error names at most this many fields: it must fit into 8 KiB of trailing metadata."""


async def refuse(context: Context, error: FarmError) -> NoReturn:
    """End the call with the error's code and details; never returns."""
    reason, sentence = _short(error.text, LONGEST_REASON), _short(error.message, LONGEST_SENTENCE)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="phonefarm")
    details = [_packed(info)]
    if error.problems:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=_short(problem.field, LONGEST_FIELD),
                description=_short(problem.message, LONGEST_PROBLEM),
            )
            for problem in error.problems[:MOST_PROBLEMS]
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    code = CODES.get(error.reason, Code.INVALID_ARGUMENT)
    number = code.value[0]
    status = status_pb2.Status(code=number, message=sentence, details=details)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, sentence, trailing_metadata=trailers)
    raise AssertionError("abort returned")


@asynccontextmanager
async def translated(context: Context) -> AsyncIterator[None]:
    """Turn what operations raise into the call's end; a surprise is logged and INTERNAL.

    Of what the tasks of a call raise together the first counts.
    """
    try:
        yield
    except (grpc.RpcError, grpc.aio.AbortError):
        raise
    except Exception as error:  # noqa: BLE001 - told to the caller, and logged when unexpected
        first = error
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        await refuse(context, _told(first))


def _told(error: Exception) -> FarmError:
    match error:
        case FarmError():
            return error
        case DatabaseBusyError():
            log.warning("database.away", error=str(error))
            return FarmError(
                Reason.CONTROLLER_UNAVAILABLE, "the database does not answer at the moment"
            )
        case _:
            log.error("call.failed", exc_info=error)
            return FarmError(
                Reason.INTERNAL, "unexpected error; the controller's log contains the cause"
            )


def _short(text: str, most: int) -> str:
    """Return the text, cut, without the half characters that JSON can name and UTF-8 cannot."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return cut.encode(errors="replace").decode()


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
