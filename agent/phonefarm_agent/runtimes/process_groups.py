"""Finds and signals the processes of a session in /proc."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from phonefarm_common.ids import boot_id

# Places in what follows the command's name in /proc/PID/stat, proc(5): fields 3, 6 and 22.
_STATE, _SESSION, _STARTED = 0, 3, 19
_ZOMBIE = "Z"


@dataclass(frozen=True, kw_only=True)
class ProcessMark:
    """Identifies one process, even if its number is used again or the host reboots."""

    pid: int
    started: int  # clock ticks after boot
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the mark of a process that exists now; raise OSError when there is none."""
        return cls(pid=pid, started=int(_stat(pid)[_STARTED]), boot=boot_id())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `text` returned."""
        pid, started, boot = text.split(":")
        return cls(pid=int(pid), started=int(started), boot=boot)

    @property
    def text(self) -> str:
        """Return the mark as text."""
        return f"{self.pid}:{self.started}:{self.boot}"

    def state(self) -> str | None:
        """Return the letter of its state; None when it is gone."""
        try:
            fields = _stat(self.pid)
        except OSError:
            return None
        same = int(fields[_STARTED]) == self.started and boot_id() == self.boot
        return fields[_STATE] if same else None

    def lives(self) -> bool:
        """Tell whether it still runs."""
        return self.state() not in {None, _ZOMBIE}

    def reap(self) -> None:
        """Reap the process if it has ended and is our child."""
        if self.state() == _ZOMBIE:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)

    async def ended(self, *, within: float | None) -> bool:
        """Wait for its end, at most *within* seconds; tell whether it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        try:
            if not self.lives():
                return True
            loop.add_reader(descriptor, over.set)  # pidfd_open(2): readable once it ended
            async with asyncio.timeout(within):
                await over.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def members(leader: ProcessMark) -> list[ProcessMark]:
    """Return every living process of the session that *leader* opened, itself included.

    The kernel gives the leader's number to nobody else while its session has a member (setsid(2)).
    """
    if leader.boot != boot_id():
        return []
    with suppress(OSError):
        if int(_stat(leader.pid)[_STARTED]) != leader.started:
            return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = _stat(int(entry.name))
            if int(fields[_SESSION]) == leader.pid and fields[_STATE] != _ZOMBIE:
                started = int(fields[_STARTED])
                found.append(ProcessMark(pid=int(entry.name), started=started, boot=leader.boot))
    return found


def send(marks: list[ProcessMark], number: signal.Signals) -> None:
    """Send a signal to each; one that is gone is fine."""
    for mark in marks:
        with suppress(ProcessLookupError):
            os.kill(mark.pid, number)


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except ProcessLookupError as error:  # it ended while being read
        raise FileNotFoundError(f"no process {pid}") from error
    return text.rpartition(")")[2].split()
