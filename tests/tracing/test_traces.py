"""A process's trace, as a collector gets it from a real gateway and a real controller."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from phonefarm.v1 import agent_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.trace_context import read_traceparent
from phonefarm_common.tracing import opened_tracer
from support.collector import Collector, Span
from support.controller import KEY, farm_on, played_agent, request
from support.live_farm import eventually
from support.rest_farm import RestFarm, rest_farm

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "33333333333333333333333333333333"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
OF_THE_PAGE = "4bf92f3577b34da6a3ce929d0e0e4736"
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text()
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    """Yield the collector of the module's farm."""
    async with Collector.serving() as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RestFarm]:
    """Yield a farm whose programs send their spans to the collector."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        async with rest_farm(tmp_path_factory.mktemp("traced"), phones=("SIM1",)) as farm:
            yield farm


async def requested(farm: RestFarm, request_id: str, traceparent: str | None) -> str:
    """Enqueue work with this header; return the process id."""
    headers = {} if traceparent is None else {"traceparent": traceparent}
    answer = await farm.caller.call(
        "POST", "/capability-requests/enqueue", farm.body(request_id=request_id), headers=headers
    )
    assert answer.status == 202, answer.body
    return str(answer.body["process_id"])


async def carried_out(farm: RestFarm, process_id: str) -> agent_pb2.Assignment:
    """Let the agent do the work with two durations that a test can know again."""
    assignment = await farm.begun("SIM1")
    records = farm.agent.whole_run(assignment)
    for record in records:
        if record.WhichOneof("body") == "action_done":
            record.action_done.seconds = 0.001
    await farm.agent.report(*records)
    await farm.until(process_id, "completed")
    return assignment


def below(spans: list[Span], parent: Span) -> list[Span]:
    """Return the children of a span, in their order."""
    return sorted(
        (span for span in spans if span.parent_id == parent.span_id), key=lambda span: span.start
    )


def only(spans: list[Span], name: str) -> Span:
    """Return the one span of this name."""
    (found,) = [span for span in spans if span.name == name]
    return found


async def test_a_process_is_one_trace_from_the_call_to_the_callback(
    traced: RestFarm, collector: Collector
) -> None:
    """Each span is below the one that caused it, and has the times of what it describes."""
    process_id = await requested(traced, "whole", CALLER)
    assignment = await carried_out(traced, process_id)
    spans = await collector.of_trace(
        TRACE, "process keyword_warmup", "callback accepted", "callback completed"
    )

    rest = only(spans, "POST /capability-requests/enqueue")
    assert (rest.service, rest.kind, rest.parent_id) == (
        "phonefarm-gateway",
        "SERVER",
        CALLER.split("-")[2],
    )
    assert rest.attributes["http.response.status_code"] == 202
    assert rest.attributes["phonefarm.process_id"] == process_id
    enqueue = only(below(spans, rest), "ProcessService/Enqueue")
    assert (enqueue.service, enqueue.kind) == ("phonefarm-controller", "SERVER")
    process = only(below(spans, enqueue), "process keyword_warmup")
    assert process.events[0] == "process PLANNED"
    assert process.events[-2:] == ("process EXECUTING", "process DONE")
    (item,) = [span for span in below(spans, process) if span.service == "phonefarm-controller"]
    wait, run = below(spans, item)
    assert (item.name, wait.name, run.name) == ("item", "wait in queue", "run")
    assert run.attributes["phonefarm.run_id"] == assignment.run.run_id
    assert run.events == ("item DONE",)
    prepare, execute = below(spans, run)
    assert (prepare.name, execute.name) == ("prepare", "execute")
    assert process.start == item.start == wait.start
    assert wait.end == run.start == prepare.start
    assert prepare.end == execute.start
    assert execute.end == run.end == item.end == process.end
    actions = below(spans, execute)
    assert len(actions) > 1
    assert all(span.name.startswith("action ") for span in actions)
    assert all(one.end <= other.start for one, other in pairwise(actions))
    assert execute.start <= actions[0].start
    assert actions[-1].end <= execute.end
    assert {span.trace_id for span in spans} == {TRACE}
    assert not any(span.failed for span in spans)


async def test_callbacks_carry_the_trace_on(traced: RestFarm, collector: Collector) -> None:
    """Each has the id of its own span, which is below the process."""
    process_id = await requested(traced, "callbacks", None)
    await carried_out(traced, process_id)
    record = await traced.record(process_id)
    spans = await collector.of_trace(
        record["trace_id"], "process keyword_warmup", "callback completed"
    )

    process = only(spans, "process keyword_warmup")
    sent = {
        context.span_id
        for one in traced.receiver.received
        if one.event["process"]["process_id"] == process_id
        and (context := read_traceparent(one.headers.get("traceparent"))) is not None
        and context.trace_id == record["trace_id"]
    }
    attempts = [span for span in below(spans, process) if span.name.startswith("callback ")]
    assert {"callback accepted", "callback completed"} <= {span.name for span in attempts}
    assert {span.kind for span in attempts} == {"CLIENT"}
    assert {span.span_id for span in attempts} == sent
    last = traced.receiver.received[-1].event["process"]
    assert last["trace_id"] == record["trace_id"]


async def test_a_failed_attempt_is_an_error_and_the_next_one_waits(
    traced: RestFarm, collector: Collector
) -> None:
    """Two runs and, between them, the wait for the second."""
    process_id = await requested(traced, "failed", None)
    first = await traced.begun("SIM1")
    failure = agent_pb2.Failure(
        code="phone_lost", failure_class=agent_pb2.FAILURE_CLASS_INFRA, message="gone"
    )
    await traced.agent.report(*traced.agent.failed_run(first.run, failure))
    await traced.until(process_id, "retrying")
    await carried_out(traced, process_id)
    record = await traced.record(process_id)
    spans = await collector.of_trace(record["trace_id"], "process keyword_warmup")

    steps = below(spans, only(spans, "item"))
    assert [span.name for span in steps][:3] == ["wait in queue", "run", "wait for next attempt"]
    runs = [span for span in steps if span.name == "run"]
    assert [span.failed for span in runs] == [True, False]
    assert [span.attributes["phonefarm.attempt"] for span in runs] == [1, 2]
    assert runs[0].attributes["phonefarm.phone_id"] == "ph-sim1"


async def test_what_its_caller_does_not_sample_is_not_sent(
    traced: RestFarm, collector: Collector
) -> None:
    """The record and the callbacks name the trace, and the collector hears nothing of it."""
    process_id = await requested(traced, "unsampled", UNSAMPLED)
    await carried_out(traced, process_id)
    record = await traced.record(process_id)
    marker = await requested(traced, "marker", None)
    await carried_out(traced, marker)
    later = (await traced.record(marker))["trace_id"]
    await collector.of_trace(later, "process keyword_warmup")

    assert record["trace_id"] == UNSAMPLED.split("-")[1]
    assert not [span for span in collector.spans if span.trace_id == record["trace_id"]]
    headers = [
        one.headers.get("traceparent", "")
        for one in traced.receiver.received
        if one.event["process"]["process_id"] == process_id
    ]
    assert headers
    assert all(text.startswith(UNSAMPLED[:36]) and text.endswith("-00") for text in headers)


async def test_reads_and_strangers_leave_no_span(traced: RestFarm, collector: Collector) -> None:
    """A status that is polled, and a request without a valid key, are not in any trace."""
    trace = "11111111111111111111111111111111"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    polled = await traced.caller.call("GET", "/processes", headers=headers)
    refused = await traced.caller.call(
        "POST",
        "/capability-requests/enqueue",
        traced.body(request_id="stranger"),
        headers=headers | {"Authorization": "Bearer wrong"},
    )
    marker = await requested(traced, "after", None)
    later = (await traced.record(marker))["trace_id"]
    await collector.of_trace(later, "POST /capability-requests/enqueue", "ProcessService/Enqueue")
    await carried_out(traced, marker)

    assert (polled.status, refused.status) == (200, 401)
    assert not [span for span in collector.spans if span.trace_id == trace]


def ignored(outcome: str, spans: int) -> None:
    """Count nothing."""


async def run_block(block: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run a block of the page, and return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        block,
        env={"PATH": os.environ["PATH"]} | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    answer: dict[str, Any] = json.loads(said)
    return answer


async def test_the_page_works(traced: RestFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/tracing.md: its variables turn tracing on, and its calls show the trace."""
    settings, enqueue, look = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in settings.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    async with opened_tracer("gateway", count=ignored) as tracer:
        assert tracer.is_on
    environment = {"FARM": traced.caller.base, "KEY": KEY, "HOOK": traced.receiver.url()}

    process_id = (await run_block(enqueue, environment))["process_id"]
    record = await run_block(look, environment | {"PROCESS": process_id})
    await carried_out(traced, process_id)

    assert record["trace_id"] == OF_THE_PAGE


async def dropped(farm: RestFarm) -> float:
    """Return how many spans the gateway has dropped, as its metrics say."""
    answer = await farm.caller.call("GET", "/metrics")
    found = re.search(
        r'phonefarm_gateway_spans_total{outcome="dropped"} (\S+)', answer.body.decode()
    )
    return float(found[1]) if found else 0.0


async def test_a_collector_that_is_away_harms_nothing(
    traced: RestFarm, collector: Collector
) -> None:
    """Work and callbacks go on, what is lost is counted, and later traces arrive again."""
    before = await dropped(traced)
    collector.status = 400  # it would be tried again for 10 s with 503
    process_id = await requested(traced, "away", None)
    await carried_out(traced, process_id)

    async def lost() -> bool:
        return await dropped(traced) > before

    try:
        await eventually(lost, what="the count of dropped spans")
    finally:
        collector.status = 200
    marker = await requested(traced, "back", None)
    await carried_out(traced, marker)
    record = await traced.record(marker)
    await collector.of_trace(record["trace_id"], "process keyword_warmup", "callback completed")

    async def all_delivered() -> bool:
        milestones = [
            one.event["milestone"]
            for one in traced.receiver.received
            if one.event["process"]["process_id"] == process_id
        ]
        return milestones == ["accepted", "executing", "completed"]

    await eventually(all_delivered, what="the callbacks")


async def test_a_trace_outlives_the_controller(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that one controller accepted and another one carried out is one trace."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    trace = "22222222222222222222222222222222"
    metadata = (*bearer(KEY), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01"))
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with farm_on(url, tmp_path) as farm:
        await farm.processes.Enqueue(request(), metadata=metadata)
        await collector.of_trace(trace, "ProcessService/Enqueue")
    async with farm_on(url, tmp_path) as farm, played_agent(farm, "SIM1") as agent:
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        spans = await collector.of_trace(trace, "process keyword_warmup")

    process = only(below(spans, only(spans, "ProcessService/Enqueue")), "process keyword_warmup")
    assert [span.name for span in below(spans, only(below(spans, process), "item"))] == [
        "wait in queue",
        "run",
    ]
    assert json.loads(assignment.plan_json)["trace_id"] == trace
