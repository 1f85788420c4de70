"""Runs to put before a runtime, and ways to watch them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonefarm_agent.runtimes.docker import DockerRuntime
from phonefarm_agent.runtimes.interface import Handle, RunSpec, Runtime
from phonefarm_common.ids import new_id
from support import acting

ACTING = Path(acting.__file__).read_text()
WAITING = """
import os, pathlib, sys
from phonefarm_executor.prewarm import wait_for_run
if not wait_for_run(pathlib.Path("/run/phonefarm"), os.environ):
    sys.exit(0)
"""
"""What a program sent as text to the image does first, as the executor does."""


@dataclass(frozen=True, kw_only=True)
class RuntimeBench:
    """One kind of runtime; each `life` is a fresh instance, as after a restart of the agent."""

    kind: str
    life: Callable[..., Runtime]
    folder: Path

    def spec(self, *acts: Any, plan: Mapping[str, Any] | None = None) -> RunSpec:
        """Lay out the directory of a run that performs *acts* (support.acting)."""
        run_id = new_id()
        directory = self.folder / run_id[:8]
        directory.mkdir(mode=0o755)
        told = {"acts": acts, "serial": "SIM0001", **(plan or {})}
        (directory / "plan.json").write_text(json.dumps(told))
        return RunSpec(run_id=run_id, epoch=7, directory=directory, cap_seconds=60, plan=told)


class PreparedRuntime(DockerRuntime):
    """Containers that were made ahead, every one: a start waits until the pool has one."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._turn = asyncio.Lock()

    async def start(self, spec: RunSpec) -> Handle:
        """Take the pool's one container."""
        assert self.pool is not None
        async with self._turn:
            await self.pool.adjust(1)
            handle = await super().start(spec)
            assert handle.token in self._warm_numbers
            return handle


def acting_command(kind: str) -> list[str]:
    """Return what performs acts, inside the image or here."""
    if kind == "process":
        return [sys.executable, "-c", ACTING]
    return ["python3", "-c", WAITING + ACTING]


async def begun(runtime: Runtime, spec: RunSpec) -> Handle:
    """Start a run and let it read its plan."""
    handle = await runtime.start(spec)
    await runtime.begin(handle, spec.directory)
    return handle


async def all_lines(runtime: Runtime, handle: Handle) -> list[str]:
    """Return every line of a run, to its end."""
    return [line.decode() async for line in runtime.lines(handle)]


@asynccontextmanager
async def following(runtime: Runtime, handle: Handle) -> AsyncIterator[AsyncIterator[bytes]]:
    """Read a run's lines; the reading is over with the block."""
    lines = runtime.lines(handle)
    try:
        yield lines
    finally:
        await lines.aclose()
