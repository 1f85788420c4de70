"""Sends spans to a collector that speaks OTLP, if the environment names one.

OpenTelemetry's own variables configure it:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.trace_context import TraceContext

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Each of these variables turns tracing on; the first one counts."""
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
_RATIO: Final = "traceidratio"
SAMPLERS: Final = (
    "always_on",
    "always_off",
    _RATIO,
    "parentbased_always_on",
    "parentbased_always_off",
    f"parentbased_{_RATIO}",
)
Attributes = Mapping[str, str | int | float | bool]


class SpanKind(StrEnum):
    """Which side of a call a span describes."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, kw_only=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    at: datetime
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinishedSpan:
    """A span that is over, with those below it. `error` is why it failed; None when it did not."""

    name: str
    start: datetime
    end: datetime
    attributes: Attributes = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    children: tuple["FinishedSpan", ...] = ()


SENT: Final = "sent"
DROPPED: Final = "dropped"
"""The queue was full, or the collector did not take the spans."""
CountSpans = Callable[[str, int], None]
"""Called from any thread with SENT or DROPPED, and the number of spans."""


class OpenSpan:
    """An operation in progress. This one is not sent: it only passes its trace on."""

    def __init__(self, context: TraceContext | None) -> None:
        """Take what calls made for the operation carry; None outside every trace."""
        self.context = context

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        """Say that the operation is over. A span that is never ended is never sent."""


class Tracer:
    """Begins and sends spans. This one sends none: programs without tracing use it."""

    is_on = False

    def begin(self, name: str, *, kind: SpanKind, parent: TraceContext | None) -> OpenSpan:
        """Begin a span below *parent*; without one, begin a trace if tracing is on."""
        return OpenSpan(parent)

    def send(
        self, span: FinishedSpan, *, parent: TraceContext, as_span: TraceContext | None = None
    ) -> None:
        """Send a span and those below it; *as_span* is what it was called before it was sent."""


@asynccontextmanager
async def opened_tracer(
    program: str, *, count: CountSpans, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Tracer]:
    """Yield the tracer of a program; at the end, send what waits, for at most a few seconds.

    Its library is loaded only if the environment names a collector. Raises ConfigError for a
    variable with a value that nobody can use, and when the library is not installed.
    """
    if not is_wanted(environment):
        yield Tracer()
        return
    _check(environment)
    try:
        from phonefarm_common.otlp import opened  # noqa: PLC0415 - only for those who trace
    except ImportError as error:
        raise ConfigError(
            f"{_name(ENDPOINTS, environment)} is set, but {error.name} is not installed: install "
            "phonefarm[tracing], or unset the variable"
        ) from error
    async with opened(program, count) as tracer:
        yield tracer


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the environment names a collector, and does not turn tracing off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


def _check(environment: Mapping[str, str]) -> None:
    """Raise ConfigError for what the library would ignore, or report without the variable."""
    name = _name(ENDPOINTS, environment)
    endpoint = environment[name].strip()
    scheme, _, rest = endpoint.partition("://")
    if scheme not in {"http", "https"} or not rest.strip("/"):
        raise ConfigError(f"{name} must be http://HOST:PORT or https://HOST:PORT, not {endpoint!r}")
    for name in PROTOCOLS:
        protocol = environment.get(name, "").strip()
        if protocol not in {"", PROTOCOL}:
            raise ConfigError(
                f"{name} must be {PROTOCOL}, which collectors serve on port 4318, not {protocol!r}"
            )
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in {"", "otlp"}:
        raise ConfigError(f"OTEL_TRACES_EXPORTER must be otlp or none, not {exporter!r}")
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler not in {"", *SAMPLERS}:
        raise ConfigError(
            f"OTEL_TRACES_SAMPLER must be one of {', '.join(SAMPLERS)}, not {sampler!r}"
        )
    if sampler.endswith(_RATIO):
        _check_ratio(environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip())


def _check_ratio(text: str) -> None:
    try:
        good = 0 <= float(text or "1") <= 1
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG must be between 0 and 1, not {text!r}")


def _name(names: tuple[str, ...], environment: Mapping[str, str]) -> str:
    return next(name for name in names if environment.get(name, "").strip())
