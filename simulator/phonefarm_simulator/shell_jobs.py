"""What a shell runs in the background, each with a process id that `kill` ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from phonefarm_simulator.processes import Process, Processes


class Jobs:
    """The background jobs of a shell and of the shells inside it."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> int:
        """Run *work* beside the shell; return its process id."""
        process = self._processes.begin(name)
        task = asyncio.create_task(self._run(process, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return process.pid

    async def ended(self) -> None:
        """Return once all jobs have ended."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def end(self) -> None:
        """End all jobs, as the hang-up of their terminal does."""
        for task in self._tasks:
            task.cancel()
        await self.ended()

    async def _run(self, process: Process, work: Coroutine[Any, Any, Any]) -> None:
        running = asyncio.ensure_future(work)
        killed = asyncio.ensure_future(process.killed.wait())
        try:
            await asyncio.wait({running, killed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            killed.cancel()
            await asyncio.gather(running, killed, return_exceptions=True)
            self._processes.finish(process)
