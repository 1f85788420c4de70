"""The tracer that sends: OpenTelemetry's SDK and its exporter of OTLP over HTTP.

A program never waits for the collector: spans go into a bounded queue, from which a thread sends
them in batches. What finds the queue full, and what cannot be sent, is dropped and counted.
"""

import asyncio
import importlib.metadata
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from phonefarm_common.config import ConfigError
from phonefarm_common.trace_context import TraceContext
from phonefarm_common.tracing import (
    DROPPED,
    SENT,
    Attributes,
    CountSpans,
    FinishedSpan,
    OpenSpan,
    SpanKind,
    Tracer,
)

STOP_SECONDS: Final = 3.0
"""A program that stops waits this long for unsent spans."""
QUEUE: Final = 2048
"""At most this many spans wait to be sent, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise."""
LONGEST_TEXT: Final = 1000
"""The reason why a span failed is cut to this many characters."""

_KINDS: Final = {
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
}
_log = structlog.get_logger()


class _Ids(IdGenerator):
    """Gives the next span the id that was set for it, if any; random ids otherwise."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.next_span: int | None = None

    def generate_trace_id(self) -> int:
        """Return a random id."""
        return self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id that was set, once, or a random one."""
        given, self.next_span = self.next_span, None
        return self._random.generate_span_id() if given is None else given


class _Exporter(SpanExporter):
    """Counts what the exporter sends, and logs once that it fails, and once that it sends again."""

    def __init__(self, exporter: OTLPSpanExporter, count: CountSpans) -> None:
        self._exporter = exporter
        self._count = count
        self._fails = False
        self.finished = 0
        """The number of spans that were sent or could not be sent."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; in the thread of the batch processor."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - a span that cannot be sent ends nothing
            result, why = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        else:
            why = "the collector does not take them"
        if result is SpanExportResult.SUCCESS:
            self._count(SENT, len(spans))
            if self._fails:
                _log.info("spans.sent_again")
        else:
            self._count(DROPPED, len(spans))
            if not self._fails:
                _log.warning("spans.not_sent", error=why, spans=len(spans))
        self._fails = result is not SpanExportResult.SUCCESS
        self.finished += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop at once: an export under way makes no further try."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # likewise

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: it holds nothing."""
        return True


class _Queue(SpanProcessor):
    """Takes ended spans as long as there is room for them; counts the others."""

    def __init__(self, exporter: _Exporter, count: CountSpans) -> None:
        self._size = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE)
        self._exporter = exporter
        self._batches = BatchSpanProcessor(exporter, max_queue_size=self._size)
        self._count = count
        self._taken = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take the span, or drop it; never waits."""
        if self._taken - self._exporter.finished >= self._size:
            self._count(DROPPED, 1)
            return
        self._taken += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Send what waits; returns once it is sent, or the exporter was shut down."""
        self._batches.shutdown()  # type: ignore[no-untyped-call] # the library has no type for it

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._batches.force_flush(timeout_millis)


class _OtlpSpan(OpenSpan):
    """A span of the SDK."""

    def __init__(self, span: trace.Span) -> None:
        super().__init__(_context_of(span))
        self._span = span

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        """Send the span, if its trace is sampled."""
        _finish(self._span, attributes, error)
        self._span.end()


class OtlpTracer(Tracer):
    """Sends to the collector that the environment names. For one thread."""

    is_on = True

    def __init__(self, provider: TracerProvider, ids: _Ids) -> None:
        self._tracer = provider.get_tracer("phonefarm", importlib.metadata.version("phonefarm"))
        self._ids = ids

    def begin(self, name: str, *, kind: SpanKind, parent: TraceContext | None) -> OpenSpan:
        """Begin a span below *parent*; the sampler decides whether it is sent."""
        return _OtlpSpan(self._tracer.start_span(name, _below(parent), kind=_KINDS[kind]))

    def send(
        self, span: FinishedSpan, *, parent: TraceContext, as_span: TraceContext | None = None
    ) -> None:
        """Send a span and those below it; *as_span* is what it was called before it was sent."""
        if as_span is not None:
            self._ids.next_span = int(as_span.span_id, 16)
        sent = self._tracer.start_span(
            span.name, _below(parent), start_time=_nanoseconds(span.start)
        )
        for event in span.events:
            sent.add_event(event.name, _attributes(event.attributes), _nanoseconds(event.at))
        _finish(sent, span.attributes, span.error)
        sent.end(_nanoseconds(span.end))
        below = _context_of(sent)
        for child in span.children:
            self.send(child, parent=below)


@asynccontextmanager
async def opened(program: str, count: CountSpans) -> AsyncIterator[Tracer]:
    """Yield a tracer; at the end, send what waits for at most STOP_SECONDS.

    ConfigError for a variable that the SDK cannot read.
    """
    library = logging.getLogger("opentelemetry")
    library.addHandler(logging.NullHandler())
    library.propagate = False  # it would write past our log; `_Exporter` says what counts
    ids = _Ids()
    try:
        exporter = _Exporter(OTLPSpanExporter(), count)
        queue = _Queue(exporter, count)
        provider = TracerProvider(
            resource=_resource(program), id_generator=ids, shutdown_on_exit=False
        )
    except ValueError as error:
        raise ConfigError(f"an OTEL_... variable has a wrong value: {error}") from error
    provider.add_span_processor(queue)
    try:
        yield OtlpTracer(provider, ids)
    finally:
        await _stop(queue, exporter)


async def _stop(queue: _Queue, exporter: _Exporter) -> None:
    """Send what waits; the threads are daemons, so that none keeps the program alive."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        queue.shutdown()
        try:
            loop.call_soon_threadsafe(sent.set)
        except RuntimeError:  # nobody waited for so long
            return

    threading.Thread(target=shut_down, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await sent.wait()
    except TimeoutError:
        exporter.shutdown()


def _resource(program: str) -> Resource:
    """Return what the spans say of this program; OTEL_SERVICE_NAME and the like win."""
    found = Resource.create(
        {
            "service.version": importlib.metadata.version("phonefarm"),
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": f"phonefarm-{program}"}))
    return found


def _below(parent: TraceContext | None) -> Context:
    """Return the SDK's context of *parent*; an empty one, which begins a trace, without it."""
    if parent is None:
        return Context()
    context = SpanContext(
        trace_id=int(parent.trace_id, 16),
        span_id=int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())


def _context_of(span: trace.Span) -> TraceContext:
    context = span.get_span_context()
    return TraceContext(
        trace_id=trace.format_trace_id(context.trace_id),
        span_id=trace.format_span_id(context.span_id),
        sampled=context.trace_flags.sampled,
    )


def _finish(span: trace.Span, attributes: Attributes, error: str | None) -> None:
    span.set_attributes(_attributes(attributes))
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error[:LONGEST_TEXT]))


def _attributes(given: Attributes) -> dict[str, AttributeValue]:
    return dict(given)


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
