"""Reads why the controller refused a call: google.rpc.Status in the trailers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.rpc import error_details_pb2, status_pb2

from phonefarm_common.reasons import FieldProblem

_TRAILER: Final = "grpc-status-details-bin"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a call was refused; `reason` is `<reason>` or `<reason>:<detail>`."""

    reason: str
    message: str
    problems: tuple[FieldProblem, ...]


def refusal(trailers: Iterable[Any] | None) -> Refusal | None:
    """Return the refusal in the *trailers* of a call; None when there is none."""
    details = dict(trailers or ()).get(_TRAILER)
    if not isinstance(details, bytes):
        return None
    try:
        status = status_pb2.Status.FromString(details)
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            for wanted in (info, bad):
                if detail.Is(wanted.DESCRIPTOR):
                    detail.Unpack(wanted)
    except ValueError:  # DecodeError is one
        return None
    if not info.reason:
        return None
    problems = tuple(
        FieldProblem(field=violation.field, message=violation.description)
        for violation in bad.field_violations
    )
    return Refusal(reason=info.reason, message=status.message, problems=problems)
