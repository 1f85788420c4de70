"""A container engine that is killed under its runs."""

import asyncio
import os
from pathlib import Path

import pytest
from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.interface import Exit
from support.components import REQUIRE, insist_or_skip
from support.private_engine import PrivateEngine, private_engine
from support.runtime_bench import RuntimeBench, acting_command, begun, following

TICKS = 400
"""At 100 a second: four seconds of lines, through which the engine is dead for a while."""


@pytest.mark.long
@pytest.mark.docker
async def test_a_run_and_its_lines_outlive_the_engine(executor_image: str, tmp_path: Path) -> None:
    """Killed -9 and started again, the engine still has the run; reader and waiter lose nothing."""
    if missing := PrivateEngine.missing():
        insist_or_skip("docker", missing, required=os.environ.get(REQUIRE, ""))
    async with private_engine() as engine:
        await engine.copy_image(executor_image)
        command = acting_command("docker")
        runtime = DockerRuntime(farm="f", agent="a", image=executor_image, command=command)
        bench = RuntimeBench(kind="docker", life=DockerRuntime, folder=tmp_path)
        handle = await begun(runtime, bench.spec(["tick", TICKS], ["exit", 3]))
        waiting = asyncio.create_task(runtime.wait(handle))
        told: list[bytes] = []

        async with asyncio.timeout(180), following(runtime, handle) as lines:
            while len(told) < 50:
                told.append(await anext(lines))
            await engine.kill()
            starting = asyncio.create_task(engine.start())
            told += [line async for line in lines]
            await starting

        assert [int(line) for line in told] == list(range(TICKS))
        assert await waiting == Exit(code=3)
        assert await runtime.held() == [handle]
        await runtime.remove(handle)
        assert await runtime.held() == []
