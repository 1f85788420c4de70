"""Programs that a shell started on the phone and that `ps` lists and `kill` ends."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

FIRST_PID = 9000


@dataclass(frozen=True, kw_only=True)
class Process:
    """One running program; *killed* is set by `kill`."""

    pid: int
    arguments: str
    user: str = "shell"
    killed: asyncio.Event = field(default_factory=asyncio.Event)


class Processes:
    """The running programs by process id."""

    def __init__(self) -> None:
        self._running: dict[int, Process] = {}
        self._last = FIRST_PID

    @contextmanager
    def running(self, arguments: str) -> Iterator[Process]:
        """List a program within the block, under its command line."""
        process = self.begin(arguments)
        try:
            yield process
        finally:
            self.finish(process)

    def begin(self, arguments: str) -> Process:
        """List a program until `finish`."""
        self._last += 1
        process = Process(pid=self._last, arguments=arguments)
        self._running[process.pid] = process
        return process

    def finish(self, process: Process) -> None:
        """Take a program off the list."""
        del self._running[process.pid]

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._running.values()))

    def kill(self, pid: int) -> bool:
        """End a program; tell whether there was one."""
        process = self._running.get(pid)
        if process is not None:
            process.killed.set()
        return process is not None
