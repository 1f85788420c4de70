"""InspectService over the wire: watching, timelines, items and evidence."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from phonefarm.v1 import agent_pb2, agent_pb2_grpc, inspect_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.processes import watch
from support.controller import AGENT_TOKEN, KEY, PATIENCE, Farm, PlayedAgent, played_agent, request
from support.once import ONE_ENGINE

WHO = bearer(KEY)

NOBODY = "11111111-1111-4111-8111-111111111111"


async def _watched(call: Any) -> inspect_pb2.ProcessEvent | None:
    """Return the next event, None when the stream has ended."""
    async with asyncio.timeout(PATIENCE):
        event = await call.read()
    return event if isinstance(event, inspect_pb2.ProcessEvent) else None


def _watch(farm: Farm, process_id: str, *, after: int = 0) -> Any:
    asked = inspect_pb2.WatchProcessRequest(process_id=process_id, after=after)
    return farm.inspect.WatchProcess(asked, metadata=WHO)


async def _to_the_end(call: Any) -> list[inspect_pb2.ProcessEvent]:
    events = []
    while (event := await _watched(call)) is not None:
        events.append(event)
    return events


async def _timeline(farm: Farm, process_id: str) -> list[inspect_pb2.Transition]:
    asked = inspect_pb2.GetTimelineRequest(process_id=process_id)
    answer: inspect_pb2.Timeline = await farm.inspect.GetTimeline(asked, metadata=WHO)
    assert not answer.truncated
    return list(answer.transitions)


@asynccontextmanager
async def _refused(reason: str, code: grpc.StatusCode) -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is code
    trailers: Any = caught.value.trailing_metadata()
    assert reason.encode() in dict(trailers)["grpc-status-details-bin"]


async def _done(farm: Farm, agent: PlayedAgent) -> str:
    """Let one process run to its end; return its id."""
    answer = await farm.enqueue(request())
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.act_out(assignment)
    await farm.until(answer.process_id, "completed")
    return answer.process_id


async def test_a_watcher_sees_every_step_and_then_the_stream_ends(farm: Farm) -> None:
    """From the record now to the terminal event, each transition once, numbers rising."""
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        call = _watch(farm, process_id)
        first = await _watched(call)
        await agent.offer()
        (assignment,) = await agent.assigned()

        await agent.act_out(assignment)
        events = await _to_the_end(call)

    assert first is not None
    assert first.process.status == "queued"
    told = [*first.transitions, *(t for event in events for t in event.transitions)]
    assert told == await _timeline(farm, process_id)
    assert events[-1].process.status == "completed"
    numbers = [first.number, *(event.number for event in events)]
    assert numbers == sorted(set(numbers))
    assert events[-1].transitions[-1].to_state == "DONE"


async def test_a_watcher_resumes_behind_the_number_it_saw(farm: Farm) -> None:
    """Nothing is told twice; after the last event there is nothing but the end."""
    async with played_agent(farm, "a") as agent:
        process_id = await _done(farm, agent)
    story = await _timeline(farm, process_id)
    middle = story[3].number

    rest = await _to_the_end(_watch(farm, process_id, after=middle))
    nothing = await _to_the_end(_watch(farm, process_id, after=story[-1].number))

    assert [t for event in rest for t in event.transitions] == story[4:]
    assert nothing == []


async def test_a_late_watcher_of_an_ended_process_gets_all_at_once(farm: Farm) -> None:
    """The record and the whole story, then the end."""
    async with played_agent(farm, "a") as agent:
        process_id = await _done(farm, agent)

    events = await _to_the_end(_watch(farm, process_id))

    assert [event.process.status for event in events] == ["completed"]
    assert list(events[0].transitions) == await _timeline(farm, process_id)


async def test_a_story_longer_than_an_event_is_told_in_several(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is longer than what is remembered; nothing is lost between."""
    monkeypatch.setattr(watch, "MOST_TOGETHER", 3)
    monkeypatch.setattr(watch, "REMEMBERED", 2)
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        call = _watch(farm, process_id)
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        await farm.until(process_id, "completed")

        events = await _to_the_end(call)
        again = await _to_the_end(_watch(farm, process_id))

    story = await _timeline(farm, process_id)
    for told in (events, again):
        assert [t for event in told for t in event.transitions] == story
        assert all(len(event.transitions) <= 3 for event in told)
        assert told[-1].process.status == "completed"


async def test_many_watchers_cost_one_reader(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing moves nobody but the reader asks the database; then all hear of it."""
    asked = 0
    real = watch.ProcessWatcher._read

    async def counted(
        self: watch.ProcessWatcher, *, record_at_least: bool
    ) -> watch.ProcessEvent | None:
        nonlocal asked
        asked += 1
        return await real(self, record_at_least=record_at_least)

    monkeypatch.setattr(watch.ProcessWatcher, "_read", counted)
    many = 60
    ids = [(await farm.enqueue(request())).process_id for _ in range(3)]
    calls = [_watch(farm, ids[place % 3]) for place in range(many)]
    for call in calls:
        assert await _watched(call) is not None

    for process_id in ids:
        await farm.cancel(process_id)
    ends = await asyncio.gather(*(_to_the_end(call) for call in calls))

    assert all(events[-1].process.status == "cancelled" for events in ends)
    assert asked == many, "each reads once, when it begins"


async def test_a_watcher_that_does_not_read_holds_back_nobody(farm: Farm) -> None:
    """The others see each step and the end; it finds all there when it reads at last."""
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        slow, quick = _watch(farm, process_id), _watch(farm, process_id)
        steps = [await _watched(quick)]
        await agent.offer()
        (assignment,) = await agent.assigned()
        steps.append(await _watched(quick))
        await agent.start(assignment.run)
        steps.append(await _watched(quick))
        await agent.report(*agent.whole_run(assignment))

        steps += await _to_the_end(quick)
        late = await _to_the_end(slow)

    seen = [step.process.status for step in steps if step is not None]
    assert seen == ["queued", "queued", "executing", "completed"]
    assert late[-1].process.status == "completed"
    story = await _timeline(farm, process_id)
    assert [t for event in late for t in event.transitions] == story


async def test_what_happens_while_a_watcher_does_not_ask_is_one_event(farm: Farm) -> None:
    """Nothing piles up for a slow one, however much happens."""
    process_watch = watch.ProcessWatch(database=farm.controller.database, wakeups=WakeUps())
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        with process_watch.watch(process_id, after=0) as watcher:
            first = await watcher.next()
            await agent.offer()
            (assignment,) = await agent.assigned()
            await process_watch.refresh(everywhere=True)
            await agent.start(assignment.run)
            await process_watch.refresh(everywhere=True)
            await agent.report(*agent.whole_run(assignment))
            await process_watch.refresh(everywhere=True)

            rest = await watcher.next()
            end = await watcher.next()

    assert first is not None
    assert rest is not None
    assert rest.record["status"] == "completed"
    assert len(first.transitions) + len(rest.transitions) == len(await _timeline(farm, process_id))
    assert end is None


async def test_what_another_controller_moves_is_seen(farm: Farm) -> None:
    """Without any hint the reader looks by itself, once a second."""
    process_id = (await farm.enqueue(request())).process_id
    call = _watch(farm, process_id)
    first = await _watched(call)

    farm.controller.database.on_processes_moved(lambda _: None)  # as if this one had not done it
    await farm.cancel(process_id)
    events = await _to_the_end(call)

    assert first is not None
    assert events[-1].process.status == "cancelled"


@ONE_ENGINE
@pytest.mark.parametrize("name", ["WatchProcess", "GetTimeline", "ListEvidence"])
@pytest.mark.parametrize("process_id", [NOBODY, "no-uuid", ""])
async def test_an_unknown_process_is_not_found(farm: Farm, name: str, process_id: str) -> None:
    """Whatever is asked of it."""
    kinds = {"WatchProcess": "WatchProcessRequest", "GetTimeline": "GetTimelineRequest"}
    asked = getattr(inspect_pb2, kinds.get(name, "ListEvidenceRequest"))(process_id=process_id)

    async with _refused("unknown_process", grpc.StatusCode.NOT_FOUND):
        call = getattr(farm.inspect, name)(asked, metadata=WHO)
        await (call.read() if name == "WatchProcess" else call)


async def test_a_watcher_without_a_key_sees_nothing(farm: Farm) -> None:
    """As for every call."""
    process_id = (await farm.enqueue(request())).process_id

    async with _refused("unauthenticated", grpc.StatusCode.UNAUTHENTICATED):
        await farm.inspect.WatchProcess(
            inspect_pb2.WatchProcessRequest(process_id=process_id)
        ).read()


async def test_an_item_is_shown_with_its_plan_and_its_attempts(farm: Farm) -> None:
    """Waiting, running in the middle of its actions, and done."""
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        (item_id,) = (await farm.get(process_id)).queue_item_ids
        asked = inspect_pb2.GetQueueItemRequest(queue_item_id=item_id)
        waiting = await farm.inspect.GetQueueItem(asked, metadata=WHO)
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        records = agent.whole_run(assignment)
        await agent.report(*records[:3])  # the first is done, the second has begun
        running = await farm.inspect.GetQueueItem(asked, metadata=WHO)
        await agent.report(*records[3:])
        done = await farm.inspect.GetQueueItem(asked, metadata=WHO)

    assert {action.status for action in waiting.actions} == {"waiting"}
    assert waiting.status == "QUEUED"
    assert not waiting.attempts
    assert [action.status for action in running.actions[:3]] == ["done", "running", "waiting"]
    assert running.attempts[0].status == "EXECUTING"
    assert not running.attempts[0].HasField("ended_at")
    assert {action.status for action in done.actions} == {"done"}
    (attempt,) = done.attempts
    assert (attempt.outcome, attempt.phone_id, attempt.agent_id) == ("done", "ph-a", "agent-1")
    assert attempt.ended_at.ToDatetime() >= attempt.started_at.ToDatetime()
    assert done.outputs_json
    assert done.process_type == "keyword_warmup"


async def test_a_failed_attempt_shows_where_it_stopped(farm: Farm) -> None:
    """What had begun has failed, and the item says why."""
    async with played_agent(farm, "a") as agent:
        process_id = (await farm.enqueue(request())).process_id
        (item_id,) = (await farm.get(process_id)).queue_item_ids
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        begun = agent.record(
            assignment.run, action_started=agent_pb2.ActionStarted(index=0, kind="launch_app")
        )
        failure = agent_pb2.Failure(
            code="selector_not_found",
            message="not there",
            failure_class=agent_pb2.FAILURE_CLASS_WORK,
            final=True,
        )
        await agent.report(begun, *agent.failed_run(assignment.run, failure))

        asked = inspect_pb2.GetQueueItemRequest(queue_item_id=item_id)
        item = await farm.inspect.GetQueueItem(asked, metadata=WHO)

    assert item.status == "DEAD_LETTER"
    assert item.error.code == "selector_not_found"
    assert [action.status for action in item.actions[:2]] == ["failed", "waiting"]
    assert item.attempts[0].outcome == "failed"


@pytest.mark.parametrize("item_id", [NOBODY, "", "x\0y"])
async def test_an_unknown_item_is_not_found(farm: Farm, item_id: str) -> None:
    """Also what is no id at all."""
    async with _refused("unknown_queue_item", grpc.StatusCode.NOT_FOUND):
        await farm.inspect.GetQueueItem(
            inspect_pb2.GetQueueItemRequest(queue_item_id=item_id), metadata=WHO
        )


async def _upload(farm: Farm, run: agent_pb2.RunRef, name: str, content: bytes) -> str:
    """Keep a file as the run's agent would; return its id."""
    head = agent_pb2.EvidenceHead(
        run=run,
        name=name,
        kind="screenshot",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        action_index=1,
    )
    parts = [content[at : at + 50_000] for at in range(0, len(content), 50_000)]
    chunks = [
        agent_pb2.EvidenceChunk(head=head),
        *(agent_pb2.EvidenceChunk(data=part) for part in parts),
    ]
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    receipt = await stub.UploadEvidence(iter(chunks), metadata=bearer(AGENT_TOKEN))
    return str(receipt.evidence_id)


async def _read(farm: Farm, process_id: str, evidence_id: str) -> list[inspect_pb2.EvidencePart]:
    asked = inspect_pb2.ReadEvidenceRequest(process_id=process_id, evidence_id=evidence_id)
    return [part async for part in farm.inspect.ReadEvidence(asked, metadata=WHO)]


async def _with_evidence(farm: Farm, agent: PlayedAgent, content: bytes) -> tuple[str, str]:
    """Return a process and its one piece of evidence."""
    process_id = (await farm.enqueue(request())).process_id
    await agent.offer()
    (assignment,) = await agent.assigned()
    return process_id, await _upload(farm, assignment.run, "a1-screen.png", content)


async def test_evidence_is_listed_and_read_back_in_chunks(farm: Farm) -> None:
    """The line first, then the very bytes."""
    content = bytes(range(256)) * 700
    async with played_agent(farm, "a") as agent:
        process_id, evidence_id = await _with_evidence(farm, agent, content)

        listed = await farm.inspect.ListEvidence(
            inspect_pb2.ListEvidenceRequest(process_id=process_id), metadata=WHO
        )
        line, *parts = await _read(farm, process_id, evidence_id)

    assert [part.evidence_id for part in listed.evidence] == [evidence_id]
    assert line.line == listed.evidence[0]
    assert (line.line.name, line.line.bytes, line.line.attempt) == ("a1-screen.png", 179200, 1)
    assert b"".join(part.data for part in parts) == content
    assert max(len(part.data) for part in parts) <= 64 * 1024


async def test_evidence_that_is_gone_or_changed_or_a_link_is_not_found(
    farm: Farm, tmp_path: Path
) -> None:
    """A line is no promise of what the disk still has, and nothing else is ever read."""
    async with played_agent(farm, "a") as agent:
        process_id, evidence_id = await _with_evidence(farm, agent, b"what was seen")
    (file,) = (tmp_path / "data" / "evidence").rglob("a1-screen.png")
    secret = tmp_path / "secret"
    secret.write_bytes(b"not for them!")

    file.write_bytes(b"short")
    async with _refused("unknown_evidence", grpc.StatusCode.NOT_FOUND):
        await _read(farm, process_id, evidence_id)
    file.unlink()
    async with _refused("unknown_evidence", grpc.StatusCode.NOT_FOUND):
        await _read(farm, process_id, evidence_id)
    file.symlink_to(secret)
    async with _refused("unknown_evidence", grpc.StatusCode.NOT_FOUND):
        await _read(farm, process_id, evidence_id)
    folder = file.parent
    file.unlink()
    folder.rmdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a1-screen.png").write_bytes(b"not for them!")
    folder.symlink_to(other)
    async with _refused("unknown_evidence", grpc.StatusCode.NOT_FOUND):
        await _read(farm, process_id, evidence_id)


async def test_evidence_of_another_process_is_not_found(farm: Farm) -> None:
    """The process's id is part of its name."""
    async with played_agent(farm, "a") as agent:
        _, evidence_id = await _with_evidence(farm, agent, b"seen")
    other = (await farm.enqueue(request())).process_id

    async with _refused("unknown_evidence", grpc.StatusCode.NOT_FOUND):
        await _read(farm, other, evidence_id)


async def test_the_registry_is_listed(farm: Farm) -> None:
    """What content made is shown by this edge."""
    answer = await farm.inspect.ListCapabilities(
        inspect_pb2.ListCapabilitiesRequest(), metadata=WHO
    )

    assert {"keyword_warmup", "fyp_warmup", "maintenance", "post_video"} <= {
        capability.name for capability in answer.capabilities
    }
