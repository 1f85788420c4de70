"""The dummy runtime: the seams of a run as docs/seams.md has them, and the order of calls."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from phonefarm_agent.runtimes.dummy import DummyRuntime, IllegalCallError
from phonefarm_agent.runtimes.interface import Exit, Handle, RunSpec
from phonefarm_common.ids import new_id
from support.runtime_bench import following

DEADLINE_SECONDS = 60


@dataclass(kw_only=True)
class Listener:
    """The agent's end of the control socket."""

    server: asyncio.Server
    heard: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        """Return the next frame of the executor."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.heard.get()

    def tell(self, **frame: Any) -> None:
        """Send a frame on the newest connection."""
        self.writers[-1].write(json.dumps(frame).encode() + b"\n")

    async def until_ready(self) -> None:
        """Expect `hello`, then `ready`."""
        assert (await self.next())["type"] == "hello"
        assert (await self.next())["type"] == "ready"


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Listener]:
    """Listen on the control socket until the block ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.writers.append(writer)
        while line := await reader.readline():
            listener.heard.put_nowait(json.loads(line))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)  # a socket left from before is replaced
    listener = Listener(server=server)
    try:
        yield listener
    finally:
        listener.server.close()
        for writer in listener.writers:
            writer.close()


def make_spec(folder: Path, *, dummy: dict[str, Any], cap_seconds: float = 30) -> RunSpec:
    """Return a run of three actions, the second of them `once`."""
    actions = [
        {"index": 0, "kind": "launch_app", "params": {}, "repeat": "safe"},
        {"index": 1, "kind": "tap", "params": {"selector": "post.send"}, "repeat": "once"},
        {"index": 2, "kind": "search", "params": {"keyword": "tea"}, "repeat": "safe"},
    ]
    plan = {"actions": actions, "skip": [], "dummy": dummy}
    return RunSpec(run_id=new_id(), epoch=1, directory=folder, cap_seconds=cap_seconds, plan=plan)


async def ready_runtime() -> DummyRuntime:
    """Return a checked runtime."""
    runtime = DummyRuntime()
    await runtime.check()
    return runtime


async def go_whenever_ready(agent: Listener) -> None:
    """Answer every `ready` until cancelled."""
    while True:
        if (await agent.heard.get())["type"] == "ready":
            agent.tell(type="go")
            agent.tell(type="ack", sequence=1000)


async def story(runtime: DummyRuntime, handle: Handle) -> list[dict[str, Any]]:
    """Return every line, decoded."""
    return [json.loads(line) async for line in runtime.lines(handle)]


def types(lines: list[dict[str, Any]]) -> list[str]:
    """Return the lines' types with the index of their action."""
    return [f"{line['type']} {line.get('index', line.get('outcome'))}" for line in lines]


async def test_a_run_waits_at_the_gate_then_tells_its_numbered_story(tmp_path: Path) -> None:
    """Nothing is told before `go`; the `once` action goes on only once its line is acknowledged."""
    runtime = await ready_runtime()
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy={}))
        await agent.until_ready()
        async with following(runtime, handle) as lines:
            first = asyncio.ensure_future(anext(lines))
            await asyncio.wait([first], timeout=0.1)
            assert not first.done()

            agent.tell(type="go")
            told = [json.loads(await first)] + [json.loads(await anext(lines)) for _ in range(2)]
            waiting = asyncio.ensure_future(anext(lines))
            await asyncio.wait([waiting], timeout=0.1)
            assert types(told)[-1] == "action_started 1"
            assert not waiting.done()

            agent.tell(type="ack", sequence=3)
            await waiting

        lines_again = await story(runtime, handle)

    assert types(lines_again) == [
        "action_started 0",
        "action_done 0",
        "action_started 1",
        "action_done 1",
        "action_started 2",
        "action_done 2",
        "run_finished done",
    ]
    assert [line["sequence"] for line in lines_again] == list(range(1, 8))
    assert lines_again[5]["outputs"] == {"keyword": "tea", "results": 4}
    assert await runtime.wait(handle) == Exit(code=0)


async def test_it_connects_again_and_says_that_it_is_still_ready(tmp_path: Path) -> None:
    """An agent that came back hears `hello` and `ready` once more, and its `go` counts."""
    runtime = await ready_runtime()
    spec = make_spec(tmp_path, dummy={})
    async with listening(tmp_path / "control.sock") as before:
        handle = await runtime.start(spec)
        await before.until_ready()

    async with listening(tmp_path / "control.sock") as after:
        await after.until_ready()
        after.tell(type="go")
        after.tell(type="ack", sequence=1000)

        assert await runtime.wait(handle) == Exit(code=0)


async def test_a_stop_at_the_gate_does_nothing(tmp_path: Path) -> None:
    """No action was begun; the exit is that of a stopped run."""
    runtime = await ready_runtime()
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy={}))
        await agent.until_ready()

        agent.tell(type="stop", reason="deadline_passed")

        assert await runtime.wait(handle) == Exit(code=3)
        assert types(await story(runtime, handle)) == ["run_finished stopped"]


async def test_a_stop_ends_a_long_action(tmp_path: Path) -> None:
    """A run that is busy for an hour looks at `stop` meanwhile."""
    runtime = await ready_runtime()
    async with listening(tmp_path / "control.sock") as agent:
        spec = make_spec(tmp_path, dummy={"seconds": 3600}, cap_seconds=7200)
        handle = await runtime.start(spec)
        await agent.until_ready()
        agent.tell(type="go")
        async with following(runtime, handle) as lines:
            await anext(lines)

        agent.tell(type="stop", reason="cancelled")

        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await runtime.wait(handle) == Exit(code=3)


async def test_steering_makes_an_action_fail_with_evidence(tmp_path: Path) -> None:
    """The failure is the one asked for, and the evidence frame has the name the line tells."""
    runtime = await ready_runtime()
    fail = {"index": 0, "code": "account_logged_out", "class": "account", "final": True}
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy={"fail": fail}))
        await agent.until_ready()
        agent.tell(type="go")

        frame = await agent.next()
        lines = await story(runtime, handle)

    assert types(lines) == ["action_started 0", "action_failed 0", "run_finished failed"]
    failure = lines[1]["failure"]
    assert failure == lines[2]["failure"]
    assert {key: failure[key] for key in ("code", "class", "final")} == {
        "code": "account_logged_out",
        "class": "account",
        "final": True,
    }
    assert lines[1]["evidence"] == [frame["name"]]
    assert await runtime.wait(handle) == Exit(code=1)


async def test_steering_makes_a_run_crash(tmp_path: Path) -> None:
    """It ends in the middle, without a last line."""
    runtime = await ready_runtime()
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy={"crash": True}))
        await agent.until_ready()
        agent.tell(type="go")

        lines = await story(runtime, handle)

    assert types(lines) == ["action_started 0"]
    assert await runtime.wait(handle) == Exit(code=134)


async def test_steering_makes_a_run_deaf_to_stop(tmp_path: Path) -> None:
    """Neither `stop` nor being asked ends it; after the grace it is killed."""
    runtime = await ready_runtime()
    dummy = {"ignore_stop": True, "seconds": 3600}
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy=dummy, cap_seconds=7200))
        await agent.until_ready()
        agent.tell(type="go")
        async with following(runtime, handle) as lines:
            await anext(lines)
        agent.tell(type="stop", reason="cancelled")

        await runtime.stop(handle, grace=0.1)

        assert await runtime.wait(handle) == Exit(code=137)
        assert types(await story(runtime, handle)) == ["action_started 0"]


async def test_a_run_ends_itself_at_its_cap(tmp_path: Path) -> None:
    """Without `go` it does not wait for ever."""
    runtime = await ready_runtime()

    handle = await runtime.start(make_spec(tmp_path, dummy={}, cap_seconds=0.1))

    assert await runtime.wait(handle) == Exit(code=1)
    last = (await story(runtime, handle))[-1]
    assert last["failure"]["code"] == "run_timeout"


async def test_actions_done_by_an_earlier_attempt_are_skipped(tmp_path: Path) -> None:
    """The plan's `skip` names the `once` action that must not happen twice."""
    runtime = await ready_runtime()
    spec = make_spec(tmp_path, dummy={})
    plan = {**spec.plan, "skip": [1]}
    again = RunSpec(run_id=new_id(), epoch=2, directory=tmp_path, cap_seconds=30, plan=plan)
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(again)
        await agent.until_ready()
        agent.tell(type="go")

        lines = await story(runtime, handle)

    assert {line["index"] for line in lines if "index" in line} == {0, 2}


@pytest.mark.parametrize(
    "noise",
    [b"not json\n", b"[1]\n", b"7\n", b'{"type": "ack"}\n', b'{"type": "new"}\n', b"\xff\n"],
)
async def test_noise_on_the_control_socket_ends_no_run(tmp_path: Path, noise: bytes) -> None:
    """What is no frame is answered by a new connection at most; the run goes on."""
    runtime = await ready_runtime()
    async with listening(tmp_path / "control.sock") as agent:
        handle = await runtime.start(make_spec(tmp_path, dummy={"seconds": 0.2}))
        await agent.until_ready()

        agent.writers[-1].write(noise)
        answering = asyncio.create_task(go_whenever_ready(agent))
        agent.tell(type="go")
        agent.tell(type="ack", sequence=1000)

        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await runtime.wait(handle) == Exit(code=0)
        answering.cancel()


async def test_calls_out_of_order_are_refused(tmp_path: Path) -> None:
    """Start before check, start twice, anything but remove after remove: the caller's faults."""
    runtime = DummyRuntime()
    spec = make_spec(tmp_path, dummy={})
    with pytest.raises(IllegalCallError, match="before check"):
        await runtime.start(spec)

    await runtime.check()
    handle = await runtime.start(spec)
    with pytest.raises(IllegalCallError, match="already"):
        await runtime.start(spec)
    assert await runtime.held() == [handle]
    await runtime.remove(handle)
    await runtime.remove(handle)

    for call in (runtime.wait(handle), runtime.stop(handle, grace=0), story(runtime, handle)):
        with pytest.raises(IllegalCallError, match="after remove"):
            await call
    with pytest.raises(IllegalCallError, match="already"):
        await runtime.start(spec)
    assert await runtime.held() == []


async def test_a_later_life_finds_nothing_and_can_clean_up(tmp_path: Path) -> None:
    """A run of a former life is gone: no line, no code, and removing it is fine."""
    before, after = await ready_runtime(), await ready_runtime()
    handle = await before.start(make_spec(tmp_path, dummy={}))

    assert await after.held() == []
    assert await story(after, handle) == []
    assert (await after.wait(handle)).code is None
    await after.stop(handle, grace=1)
    await after.remove(handle)
    await before.remove(handle)
