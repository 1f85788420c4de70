"""`traceparent`, the variables that turn tracing on, and a collector that is not there."""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from phonefarm_common.config import ConfigError
from phonefarm_common.trace_context import (
    TraceContext,
    current_traceparent,
    read_traceparent,
    span_of_process,
    working_in,
)
from phonefarm_common.tracing import FinishedSpan, SpanKind, opened_tracer
from support.collector import Collector
from support.live_farm import eventually

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f" 00-{TRACE}-{SPAN}-03 ", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_header_is_read(text: str, *, sampled: bool) -> None:
    """Also one of a later version, as far as it is known."""
    assert read_traceparent(text) == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no header",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_what_the_standard_forbids_is_no_header(text: str | None) -> None:
    """A request with it is one without a trace."""
    assert read_traceparent(text) is None


def test_a_header_is_written_as_it_was_read() -> None:
    """The flags that are known, and no others."""
    assert PARENT.traceparent == f"00-{TRACE}-{SPAN}-01"
    assert read_traceparent(PARENT.traceparent) == PARENT


def test_a_process_has_the_same_span_everywhere() -> None:
    """It follows from the process and stays in its trace."""
    one = span_of_process("p-1", PARENT)

    assert one == span_of_process("p-1", PARENT)
    assert one.trace_id == TRACE
    assert one.span_id not in {SPAN, span_of_process("p-2", PARENT).span_id}
    assert read_traceparent(one.traceparent) == one


def test_the_current_trace_ends_with_its_block() -> None:
    """Outside every trace there is none."""
    with working_in(PARENT):
        inside = current_traceparent()

    assert inside == PARENT.traceparent
    assert current_traceparent() is None


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4318"}, "http://HOST:PORT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "SAMPLER_ARG"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"},
            "SAMPLER_ARG",
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_"),
    ],
)
async def test_a_wrong_variable_is_named(
    environment: Mapping[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program does not start with tracing that does not work."""
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"} | dict(environment)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=named):
        async with opened_tracer("gateway", count=ignored):
            pass


async def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that installs it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "phonefarm_common.otlp", raising=False)

    with pytest.raises(ConfigError, match=r"install phonefarm\[tracing\]"):
        async with opened_tracer("gateway", count=ignored):
            pass


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_without_a_collector_traces_are_only_passed_on(
    environment: Mapping[str, str],
) -> None:
    """A caller's trace stays what it is, and none begins."""
    async with opened_tracer("gateway", count=ignored, environment=environment) as tracer:
        passed_on = tracer.begin("a call", kind=SpanKind.SERVER, parent=PARENT)
        none = tracer.begin("a call", kind=SpanKind.SERVER, parent=None)

    assert not tracer.is_on
    assert passed_on.context == PARENT
    assert none.context is None


def test_without_a_collector_the_library_is_not_loaded() -> None:
    """Neither by the programs nor when they look whether they trace."""
    program = (
        "import asyncio, sys\n"
        "import phonefarm_controller.cli, phonefarm_gateway.cli\n"
        "from phonefarm_common.tracing import opened_tracer\n"
        "async def main():\n"
        "    async with opened_tracer('gateway', count=print): pass\n"
        "asyncio.run(main())\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "phonefarm_gateway" in loaded
    assert loaded.isdisjoint({"opentelemetry", "requests"})


def ignored(outcome: str, spans: int) -> None:
    """Count nothing."""


def a_span() -> FinishedSpan:
    """Return a span that is over."""
    return FinishedSpan(name="a span", start=NOON, end=NOON + timedelta(seconds=1))


async def test_no_sampling_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler of the variables decides about traces that begin here."""
    async with Collector.serving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        async with opened_tracer("gateway", count=ignored) as tracer:
            span = tracer.begin("a call", kind=SpanKind.SERVER, parent=None)
            span.end({})
            assert span.context is not None
            tracer.send(a_span(), parent=span.context)
            tracer.send(a_span(), parent=PARENT)
            spans = await collector.until(bool)

    assert not span.context.sampled
    assert [one.trace_id for one in spans] == [TRACE]


async def test_what_a_collector_does_not_take_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """Nobody listens: no call waits, at most a full queue is kept, every span is counted."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    counted: Counter[str] = Counter()

    def count(outcome: str, spans: int) -> None:
        counted[outcome] += spans

    async with opened_tracer("gateway", count=count) as tracer:
        for _ in range(100):
            tracer.send(a_span(), parent=PARENT)
        at_once = counted["dropped"]

    async def all_counted() -> bool:
        return counted["dropped"] == 100

    await eventually(all_counted, what="the count of all spans")
    assert at_once >= 80
    assert counted["sent"] == 0
