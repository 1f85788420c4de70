"""The programs of a farm as child processes: starts, watches and stops them."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonefarm_cli.errors import CommandError
from phonefarm_cli.terminal import note, warn
from phonefarm_cli.up.orphans import save_identities

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
NOTED_SECONDS = 3.0
_LAST_LINES = 15
_POLL_SECONDS = 0.02

# Runs in the child before the program: has it signalled when its parent dies, even by SIGKILL.
_BOUND = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1, int(sys.argv[2]))\n"  # PR_SET_PDEATHSIG, prctl(2)
    "os.getppid()==int(sys.argv[1]) and os.execv(sys.argv[3], sys.argv[3:])\n"
)


def bound_to_parent(command: list[str], parent_death_signal: signal.Signals) -> list[str]:
    """Return the command with a prefix that has it signalled when this process dies."""
    return [
        sys.executable,
        "-ISc",
        _BOUND,
        str(os.getpid()),
        str(int(parent_death_signal)),
        *command,
    ]


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of the farm, and how to start it."""

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    parent_death_signal: signal.Signals = signal.SIGKILL
    group: str = ""
    """Programs of the same group replace each other: while one of them runs, the others may end."""


class ProgramEndedError(CommandError):
    """A program ended by itself or did not become ready; the text has its last log lines."""


class ChildProcesses:
    """Starts programs with logs and ready-files under *data*; its owner must `stop` each."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._ends: dict[str, asyncio.Task[int]] = {}
        self._groups: dict[str, str] = {}
        self._told: set[str] = set()  # names of those that ended while another stood by
        self._changed = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids by name, in the order of the starts."""
        return {name: process.pid for name, process in self._running.items()}

    def log(self, name: str) -> Path:
        """Return the path of a program's log."""
        return self._data / "logs" / f"{name}.log"

    async def start(self, program: Program) -> dict[str, Any]:
        """Start a program; return the content of its ready-file, or raise ProgramEndedError."""
        ready_file = self._data / "ready" / f"{program.name}.json"
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", program.module, *program.arguments]
        command += ["--ready-file", str(ready_file)]
        with _open_log(self.log(program.name)) as log:
            process = await asyncio.create_subprocess_exec(
                *bound_to_parent(command, program.parent_death_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(program.environment),
                start_new_session=True,  # Ctrl-C reaches only us; we stop them in order
            )
        self._running[program.name] = process
        self._groups[program.name] = program.group
        end = self._ends[program.name] = asyncio.create_task(process.wait())
        self._changed.set()
        save_identities(self._data, self.pids.values())
        return await self._ready(program.name, ready_file, end)

    async def watch(self) -> None:
        """Raise ProgramEndedError as soon as a program ends for which no other stands by."""
        while True:
            self._changed.clear()
            change = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait(
                    {change, *(self._ends[name] for name in self._ends.keys() - self._told)},
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                change.cancel()
            for name, end in self._ends.items():
                if end.done() and name not in self._told:
                    ended = self._ended(name, end.result())
                    if not self._has_standby(name):
                        raise ended
                    self._told.add(name)
                    warn(f"{ended}\nthe farm continues with the other controllers")

    def _has_standby(self, name: str) -> bool:
        group = self._groups[name]
        others = [other for other, of in self._groups.items() if of == group and other != name]
        return bool(group) and any(not self._ends[other].done() for other in others)

    async def stop(self, name: str, hurry: asyncio.Event) -> bool:
        """Send SIGTERM; return False when the program had to be killed after STOP_SECONDS.

        *hurry* ends the waiting.
        """
        process, end = self._running.get(name), self._ends.get(name)
        if process is None or end is None:
            return True
        with suppress(ProcessLookupError):
            process.terminate()
        hurried = asyncio.create_task(hurry.wait())
        for patience in (NOTED_SECONDS, STOP_SECONDS - NOTED_SECONDS):
            waiting = {end, hurried}
            await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not end.done() and not hurried.done() and patience == NOTED_SECONDS:
                note(f"  waiting for the {name} to finish; Ctrl-C again kills it")
        hurried.cancel()
        if end.done():
            return True
        with suppress(ProcessLookupError):
            process.kill()
        await end
        return False

    async def _ready(self, name: str, path: Path, end: asyncio.Task[int]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while (facts := _read_facts(path)) is None:
                    if end.done():
                        raise self._ended(name, end.result())
                    # Only the end of the process can be waited for; the file has to be polled.
                    await asyncio.wait({end}, timeout=_POLL_SECONDS)
        except TimeoutError as error:
            raise self._failed(name, f"was not ready after {READY_SECONDS:.0f} s") from error
        return facts

    def _ended(self, name: str, code: int) -> ProgramEndedError:
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"exited with code {code}"
        )
        return self._failed(name, how)

    def _failed(self, name: str, how: str) -> ProgramEndedError:
        path = self.log(name)
        with path.open(errors="replace") as log:
            last = "".join(f"  {line}" for line in deque(log, _LAST_LINES)).rstrip()
        return ProgramEndedError(f"the {name} {how}; the last of {path}:\n{last or '  (nothing)'}")


def _read_facts(path: Path) -> dict[str, Any] | None:
    """Return the content of a ready-file, which is written whole; None when there is none."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return facts


def _open_log(path: Path) -> Any:
    """Open an empty log; the log of the last start is kept beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_suffix(".log.1"))
    return path.open("wb")
