"""Refusing a call as the real controller does."""

from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


async def refuse(
    context: Context,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    *violations: tuple[str, str],
) -> NoReturn:
    """Abort as the real controller does: google.rpc.Status with ErrorInfo and BadRequest."""
    status = status_pb2.Status(code=code.value[0], message=message)
    parts: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="phonefarm")]
    if violations:
        bad = error_details_pb2.BadRequest()
        for name, description in violations:
            bad.field_violations.add(field=name, description=description)
        parts.append(bad)
    for part in parts:
        packed = AnyMessage()
        packed.Pack(part)
        status.details.append(packed)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, message, details)
    raise AssertionError("abort returns nothing")
