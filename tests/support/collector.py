"""A collector of traces: an HTTP server that takes OTLP, decodes it and keeps the spans."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2

PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span as the collector got it; times in nanoseconds since 1970."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    kind: str
    failed: bool
    attributes: dict[str, Any]
    events: tuple[str, ...]


class Collector:
    """Answers 200 until told otherwise by `status`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests = 0
        self.status = 200
        self.port = 0
        self._came = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[Self]:
        """Yield a collector that listens on loopback."""
        collector = cls()
        runner = web.ServerRunner(
            web.Server(collector._take), access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            collector.port = runner.addresses[0][1]
            yield collector
        finally:
            await runner.cleanup()

    @property
    def endpoint(self) -> str:
        """Return what OTEL_EXPORTER_OTLP_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.port}"

    async def until(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """Return all spans once there are *enough*; TimeoutError after PATIENCE_SECONDS."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._came:
            await self._came.wait_for(lambda: enough(self.spans))
        return list(self.spans)

    async def of_trace(self, trace_id: str, *names: str) -> list[Span]:
        """Return the spans of a trace once each of *names* has come."""

        def those(spans: list[Span]) -> list[Span]:
            return [span for span in spans if span.trace_id == trace_id]

        return those(await self.until(lambda spans: set(names) <= {s.name for s in those(spans)}))

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        async with self._came:
            self.requests += 1
            if self.status == 200:
                assert request.path == "/v1/traces"
                assert request.content_type == "application/x-protobuf"
                self.spans += _spans(otlp.ExportTraceServiceRequest.FromString(body))
            self._came.notify_all()
        answer = otlp.ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=answer, content_type="application/x-protobuf")


def _spans(request: otlp.ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            service=_attributes(resource.resource.attributes)["service.name"],
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            attributes=_attributes(span.attributes),
            events=tuple(event.name for event in span.events),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
