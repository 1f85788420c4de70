"""What every runtime keeps of the contract, whatever a run is made of."""

import asyncio
import time
from pathlib import Path

import pytest
from phonefarm_agent.runtimes.interface import Exit, Handle, RuntimeFailedError
from phonefarm_agent.runtimes.line_splitter import MAX_LINE_BYTES
from support.runtime_bench import RuntimeBench, all_lines, begun, following


async def test_a_run_is_read_from_its_first_line_and_ends_with_its_code(
    bench: RuntimeBench,
) -> None:
    """Lines of stdout come in order, stderr does not, and the exit code is the executor's."""
    runtime = bench.life()
    spec = bench.spec(["say", "one"], ["complain", "for people"], ["say", "two"], ["exit", 3])

    handle = await begun(runtime, spec)

    assert await all_lines(runtime, handle) == ["one", "two"]
    assert await runtime.wait(handle) == Exit(code=3)
    assert handle.run_id == spec.run_id


async def test_lines_arrive_while_the_run_goes_on(bench: RuntimeBench) -> None:
    """A reader does not wait for the end of the run."""
    runtime = bench.life()
    handle = await begun(runtime, bench.spec(["say", "early"], ["hang", None]))

    async with asyncio.timeout(180), following(runtime, handle) as lines:
        assert await anext(lines) == b"early"


async def test_a_later_life_of_the_agent_finds_the_run_and_all_its_lines(
    bench: RuntimeBench,
) -> None:
    """A fresh instance holds the same run, reads it from line one and sees its exit."""
    handle = await begun(bench.life(), bench.spec(["tick", 50], ["exit", 1]))
    async with following(bench.life(), handle) as lines:
        await anext(lines)

    later = bench.life()
    held = await later.held()

    assert held == [handle]
    assert await all_lines(later, held[0]) == [str(number) for number in range(50)]
    assert await later.wait(held[0]) == Exit(code=1)
    assert await later.held() == [handle]


async def test_lines_can_be_read_again_after_the_end(bench: RuntimeBench) -> None:
    """A second reading yields the same lines: they are numbered, repeats are harmless."""
    runtime = bench.life()
    handle = await begun(runtime, bench.spec(["say", "one"], ["say_without_end", "two"]))
    await runtime.wait(handle)

    first, second = await all_lines(runtime, handle), await all_lines(runtime, handle)

    assert first == second == ["one", "two"]


async def test_long_lines_stay_whole_and_are_cut_at_their_limit(bench: RuntimeBench) -> None:
    """200 kB, which a container log keeps in pieces, is one line; beyond 1 MiB a line is cut."""
    runtime = bench.life()
    spec = bench.spec(["say_long", 200_000], ["say_long", 3 * MAX_LINE_BYTES], ["say", "after"])

    handle = await begun(runtime, spec)
    lines = await all_lines(runtime, handle)

    assert lines[0] == "x" * 200_000 + "!"
    assert lines[1] == "x" * MAX_LINE_BYTES
    assert lines[2] == "after"


async def test_stop_asks_before_it_kills(bench: RuntimeBench) -> None:
    """A run that listens ends by itself, with its own code, well within the grace."""
    runtime = bench.life()
    acts = [["exit_when_asked", 3], ["say", "here"], ["hang", None]]
    handle = await begun(runtime, bench.spec(*acts))
    async with following(runtime, handle) as lines:
        await anext(lines)

    began = time.monotonic()
    await runtime.stop(handle, grace=120)

    assert time.monotonic() - began < 60
    assert await runtime.wait(handle) == Exit(code=3)
    assert await all_lines(runtime, handle) == ["here", "asked"]


async def test_stop_kills_what_does_not_listen(bench: RuntimeBench) -> None:
    """A run that ignores SIGTERM is gone once stop returned; those who read and wait are told."""
    runtime = bench.life()
    acts = [["ignore_asking", None], ["say", "here"], ["hang", None]]
    handle = await begun(runtime, bench.spec(*acts))
    waiting = asyncio.create_task(runtime.wait(handle))
    async with following(runtime, handle) as lines:
        await anext(lines)

        began = time.monotonic()
        await runtime.stop(handle, grace=0.5)
        took = time.monotonic() - began

        assert [line async for line in lines] == []
    assert took >= 0.5
    assert await waiting == Exit(code=137)


async def test_stop_without_grace_does_not_ask(bench: RuntimeBench) -> None:
    """A hard stop gives the run no say."""
    runtime = bench.life()
    acts = [["exit_when_asked", 3], ["say", "here"], ["hang", None]]
    handle = await begun(runtime, bench.spec(*acts))
    async with following(runtime, handle) as lines:
        await anext(lines)

    await runtime.stop(handle, grace=0)

    assert await runtime.wait(handle) == Exit(code=137)
    assert await all_lines(runtime, handle) == ["here"]


async def test_stop_and_remove_may_be_repeated(bench: RuntimeBench) -> None:
    """Whatever was done already, and by whomever, is fine; nothing is held at the end."""
    runtime, other = bench.life(), bench.life()
    handle = await begun(runtime, bench.spec(["hang", None]))

    await asyncio.gather(runtime.stop(handle, grace=0), other.stop(handle, grace=0))
    await runtime.stop(handle, grace=1)
    await asyncio.gather(runtime.remove(handle), other.remove(handle))
    await runtime.remove(handle)

    assert await runtime.held() == []
    assert (await runtime.wait(handle)).code is None
    assert await all_lines(runtime, handle) == []


async def test_remove_kills_a_run_and_the_children_it_left(bench: RuntimeBench) -> None:
    """No process of the run is left, also not one its executor forgot."""
    runtime = bench.life()
    seconds = 7_000_000 + time.monotonic_ns() % 1_000_000
    handle = await begun(
        runtime, bench.spec(["leave_child", seconds], ["say", "left"], ["hang", None])
    )
    async with following(runtime, handle) as lines:
        await anext(lines)
    async with asyncio.timeout(180):  # the kernel shows a program's words a moment after its start
        while _sleepers(seconds) != 1:  # noqa: ASYNC110 - /proc raises no event
            await asyncio.sleep(0.01)

    await runtime.remove(handle)

    assert _sleepers(seconds) == 0


async def test_held_knows_only_its_own_farm_and_agent(bench: RuntimeBench) -> None:
    """Another farm's runs, and another agent's of the same farm, are not ours to sweep."""
    ours, other_agent = bench.life(), bench.life(agent="agent-2")
    handle = await begun(ours, bench.spec(["hang", None]))
    theirs = await begun(other_agent, bench.spec(["hang", None]))

    try:
        assert await ours.held() == [handle]
        assert await other_agent.held() == [theirs]
        assert await bench.life(farm="another").held() == []
    finally:
        await other_agent.remove(theirs)


async def test_a_run_is_not_started_twice(bench: RuntimeBench) -> None:
    """A second start of the same run is refused and does not touch the first."""
    runtime = bench.life()
    spec = bench.spec(["say", "here"], ["hang", None])
    handle = await begun(runtime, spec)

    with pytest.raises(RuntimeFailedError):
        await begun(runtime, spec)

    async with following(runtime, handle) as lines:
        assert await anext(lines) == b"here"
    assert await runtime.held() == [handle]


async def test_runs_overlap(bench: RuntimeBench) -> None:
    """Several runs are started, read and ended at the same time without being mixed up."""
    runtime = bench.life()
    specs = [bench.spec(["say", f"run {number}"], ["exit", number]) for number in range(4)]

    handles = await asyncio.gather(*(begun(runtime, spec) for spec in specs))
    stories = await asyncio.gather(*(all_lines(runtime, handle) for handle in handles))
    exits = await asyncio.gather(*(runtime.wait(handle) for handle in handles))

    assert stories == [[f"run {number}"] for number in range(4)]
    assert exits == [Exit(code=number) for number in range(4)]


async def test_a_cancelled_reader_or_waiter_is_gone_at_once(bench: RuntimeBench) -> None:
    """Neither holds up the agent, and the run goes on."""
    runtime = bench.life()
    handle = await begun(runtime, bench.spec(["say", "here"], ["hang", None]))
    tasks = [
        asyncio.create_task(all_lines(runtime, handle)),
        asyncio.create_task(runtime.wait(handle)),
    ]
    async with following(runtime, handle) as lines:
        await anext(lines)

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=180)

    assert all(task.cancelled() for task in tasks)
    assert await runtime.held() == [handle]


async def test_a_run_nobody_knows_is_gone(bench: RuntimeBench) -> None:
    """A handle from a journal whose run vanished yields no lines, no code and no error."""
    runtime = bench.life()
    kept = await begun(runtime, bench.spec(["exit", 0]))
    await runtime.remove(kept)
    handle = Handle(run_id=kept.run_id, name=kept.name, token=kept.token)

    assert await all_lines(runtime, handle) == []
    assert (await runtime.wait(handle)).code is None
    await runtime.stop(handle, grace=1)
    await runtime.remove(handle)


def _sleepers(seconds: int) -> int:
    """Count living processes `sleep SECONDS`, in containers too: this host sees them all."""
    wanted = f"sleep\0{seconds}\0".encode()
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() == wanted
        except OSError:
            continue
    return found
