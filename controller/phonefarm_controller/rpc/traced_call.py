"""The spans of the calls that create processes."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from phonefarm_common.reasons import FarmError
from phonefarm_common.trace_context import TRACEPARENT, read_traceparent, working_in
from phonefarm_common.tracing import SpanKind, Tracer

from phonefarm_controller.rpc.auth import metadata_value
from phonefarm_controller.rpc.errors import Context

CREATING: Final = frozenset(
    {
        "ProcessService/Enqueue",
        "ContentService/Ingest",
        "OperatorService/RerunProcess",
        "VerificationService/VerifyCapability",
        "VerificationService/CheckProfile",
    }
)
"""The methods whose response names the process, whether it is new or existed before."""

_Behavior = Callable[[Any, Context], Awaitable[Any]]


def traced(tracer: Tracer, method: str, behavior: _Behavior) -> _Behavior:
    """Return *behavior* with a span for each call, below the one that the caller names.

    A method that creates no process gets none. A refusal is no error of the span: it is the answer.
    """
    if method not in CREATING:
        return behavior
    service, _, name = method.partition("/")

    async def call(request: Any, context: Context) -> Any:
        parent = read_traceparent(metadata_value(context, TRACEPARENT))
        span = tracer.begin(method, kind=SpanKind.SERVER, parent=parent)
        told = {"rpc.system": "grpc", "rpc.service": f"phonefarm.v1.{service}", "rpc.method": name}
        error = None
        try:
            with working_in(span.context):
                answer = await behavior(request, context)
            told["phonefarm.process_id"] = answer.process_id
        except FarmError as refused:
            told["phonefarm.reason"] = refused.text
            raise
        except Exception as crash:
            error = type(crash).__name__
            raise
        finally:
            span.end(told, error=error)
        return answer

    return call
