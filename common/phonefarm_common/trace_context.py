"""Reads and writes `traceparent`: the trace that a request belongs to, and the span it came from.

Source: W3C Trace Context (https://www.w3.org/TR/trace-context/), sections 3.2 and 4. `tracestate`
is neither read nor passed on.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import structlog

TRACEPARENT: Final = "traceparent"
"""The name of the HTTP header, and of the key in gRPC's metadata."""

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


@dataclass(frozen=True, kw_only=True)
class TraceContext:
    """One span of a trace, for those whose spans are to be its children; ids in lower-case hex."""

    trace_id: str  # 32 digits
    span_id: str  # 16 digits
    sampled: bool  # whether the spans of the trace are sent to a collector

    @property
    def traceparent(self) -> str:
        """Return the value of the header."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"


def read_traceparent(text: str | None) -> TraceContext | None:
    """Return what the header says; None without one, and for a value that the standard forbids."""
    match = _FORM.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Later versions may add fields; version 00 has none, and ff is forbidden.
    if (
        version == "ff"
        or (version == "00" and more)
        or trace_id == _NO_TRACE
        or span_id == _NO_SPAN
    ):
        return None
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def span_of_process(process_id: str, requested_in: TraceContext) -> TraceContext:
    """Return the span of a process, in the trace in which it was requested.

    The id of the span follows from the id of the process, so that spans can be its children before
    it is sent, and every controller gives it the same.
    """
    span_id = hashlib.blake2b(process_id.encode(), digest_size=8).hexdigest()
    return TraceContext(
        trace_id=requested_in.trace_id, span_id=span_id, sampled=requested_in.sampled
    )


_CURRENT: Final[ContextVar[TraceContext | None]] = ContextVar("trace", default=None)


def current_trace() -> TraceContext | None:
    """Return the span in which the current task works; None outside every trace."""
    return _CURRENT.get()


@contextmanager
def working_in(context: TraceContext | None) -> Iterator[None]:
    """Let `current_trace` return *context* in the block, and log lines name its trace."""
    if context is None:
        yield
        return
    token = _CURRENT.set(context)
    try:
        with structlog.contextvars.bound_contextvars(trace_id=context.trace_id):
            yield
    finally:
        _CURRENT.reset(token)


def current_traceparent() -> str | None:
    """Return `current_trace` as the value of the header."""
    context = _CURRENT.get()
    return None if context is None else context.traceparent
