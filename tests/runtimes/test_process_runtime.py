"""What only the process runtime has to care for."""

import pytest
from phonefarm_agent.runtimes import process
from phonefarm_agent.runtimes.process_groups import ProcessMark, members
from support.runtime_bench import RuntimeBench, begun, following


@pytest.mark.parametrize("bench", ["process"], indirect=True)
async def test_a_process_that_starts_while_its_run_is_removed_does_not_stay(
    bench: RuntimeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look at /proc misses what the leader starts before it is killed."""
    looks = 0

    def look(leader: ProcessMark) -> list[ProcessMark]:
        nonlocal looks
        looks += 1
        found = members(leader)
        return [mark for mark in found if mark.pid == leader.pid] if looks == 1 else found

    runtime = bench.life()
    handle = await begun(runtime, bench.spec(["say", "here"], ["hang", None]))
    leader = ProcessMark.parse(handle.token)
    async with following(runtime, handle) as lines:
        assert await anext(lines) == b"here"
        assert len(members(leader)) > 1
        monkeypatch.setattr(process, "members", look)

        await runtime.remove(handle)

    assert looks > 1
    assert members(leader) == []
