"""Prometheus metrics of this gateway."""

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from phonefarm_gateway.delivery import AttemptReport

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
STREAMS: Final = "event_streams"
TLS_ENDS: Final = "tls_certificate_ends_timestamp_seconds"
GAUGES: Final = {
    STREAMS: "Event streams that are open",
    TLS_ENDS: "Time at which this gateway's TLS certificate expires",
}
"""The gauges that `add_gauge` may add; without its own TLS, a gateway has no certificate."""


class Metrics:
    """Counts in a registry of its own: several gateways may run in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "phonefarm_gateway_requests",
            "Requests that the gateway has answered",
            ["method", "path", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "phonefarm_gateway_request_seconds",
            (
                "Seconds from the head of a request to the end of the response; event "
                "streams are not counted"
            ),
            ["method", "path"],
            registry=self.registry,
        )
        self._callbacks = Counter(
            "phonefarm_gateway_callback_attempts",
            "Attempts to send callbacks, as the gateway reported them to the controller",
            ["outcome"],
            registry=self.registry,
        )
        self._spans = Counter(
            "phonefarm_gateway_spans",
            "Spans of traces, by whether the collector has taken them; dropped means that the "
            "queue was full or the collector did not answer",
            ["outcome"],
            registry=self.registry,
        )

    def count_request(self, *, method: str, path: str, status: int, seconds: float | None) -> None:
        """Count a request by its endpoint's template; *seconds* is None for an event stream."""
        self._requests.labels(method, path, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(method, path).observe(seconds)

    def count_attempt(self, report: AttemptReport) -> None:
        """Count an attempt at a callback."""
        self._callbacks.labels(str(report.outcome)).inc()

    def count_spans(self, outcome: str, spans: int) -> None:
        """Count spans that were `sent` or `dropped`."""
        self._spans.labels(outcome).inc(spans)

    def add_gauge(self, name: str, read: Callable[[], float]) -> None:
        """Add a gauge of GAUGES, which reads its value when it is scraped."""
        gauge = Gauge(f"phonefarm_gateway_{name}", GAUGES[name], registry=self.registry)
        gauge.set_function(read)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
