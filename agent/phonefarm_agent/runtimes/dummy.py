"""The dummy runtime: runs inside the agent, steered by the plan's `dummy` object.

They keep the seams (control socket, numbered lines, exit codes) and refuse calls in an order that
the contract of a runtime does not allow.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from phonefarm_agent.runtimes.dummy_executor import DummyExecutor
from phonefarm_agent.runtimes.interface import Exit, Handle, RunSpec

_KILLED_CODE = 137


class IllegalCallError(Exception):
    """The runtime's interface does not allow this call now: a bug of the caller."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    handle: Handle
    executor: DummyExecutor
    task: asyncio.Task[int]


class DummyRuntime:
    """Runs dummy executors as tasks; they end with the agent."""

    name = "dummy"

    def __init__(self) -> None:
        self._checked = False
        self._runs: dict[str, _Run] = {}
        self._removed: set[str] = set()

    async def check(self) -> None:
        """Do nothing: a dummy run can always be started."""
        self._checked = True

    async def start(self, spec: RunSpec) -> Handle:
        """Start a dummy executor for *spec*."""
        if not self._checked:
            raise IllegalCallError("start before check")
        if spec.run_id in self._runs or spec.run_id in self._removed:
            raise IllegalCallError(f"run {spec.run_id} was started already")
        handle = Handle(run_id=spec.run_id, name=f"dummy-{spec.run_id}", token=spec.run_id)
        executor = DummyExecutor(spec)
        task = asyncio.create_task(executor.run(), name=handle.name)
        task.add_done_callback(lambda _: executor.events.close())
        self._runs[spec.run_id] = _Run(handle=handle, executor=executor, task=task)
        return handle

    async def begin(self, handle: Handle, directory: Path) -> None:
        """Do nothing: the run has begun already."""
        self._find(handle, "begin")

    async def held(self) -> list[Handle]:
        """Return the runs of this process that were not removed."""
        return [run.handle for run in self._runs.values()]

    async def lines(self, handle: Handle) -> AsyncGenerator[bytes, None]:
        """Yield the lines that an executor would print."""
        if run := self._find(handle, "lines"):
            async for line in run.executor.events.read():
                yield line

    async def wait(self, handle: Handle) -> Exit:
        """Return when the run has ended; a run of an earlier process is gone."""
        run = self._find(handle, "wait")
        if run is None:
            return Exit(code=None, detail="dummy runs stop when the agent stops")
        await asyncio.wait([run.task])
        if run.task.cancelled():
            return Exit(code=_KILLED_CODE)
        if error := run.task.exception():
            return Exit(code=None, detail=repr(error))
        return Exit(code=run.task.result())

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Ask the run to stop, end it after *grace* seconds."""
        if run := self._find(handle, "stop"):
            await self._end(run, grace=grace)

    async def remove(self, handle: Handle) -> None:
        """End the run and forget it."""
        run = self._runs.get(handle.run_id)
        if run is not None:
            await self._end(run, grace=0)
            self._runs.pop(handle.run_id, None)
        self._removed.add(handle.run_id)

    def _find(self, handle: Handle, call: str) -> _Run | None:
        if handle.run_id in self._removed:
            raise IllegalCallError(f"{call} after remove of run {handle.run_id}")
        if not self._checked:
            raise IllegalCallError(f"{call} before check")
        return self._runs.get(handle.run_id)

    async def _end(self, run: _Run, *, grace: float) -> None:
        if grace > 0:
            run.executor.ask_to_stop()
            await asyncio.wait([run.task], timeout=grace)
        run.task.cancel()
        await asyncio.wait([run.task])
