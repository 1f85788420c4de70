"""Ends processes that outlived their parent: those of an earlier `up`, and our own at the end."""

import asyncio
import ctypes
import json
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from phonefarm_common.ids import boot_id
from phonefarm_common.lifecycle import write_private_json

_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
# Places in what follows the command's name in /proc/PID/stat, proc(5): fields 3, 4 and 22.
_STATE, _PARENT, _STARTED = 0, 1, 19
_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """Identifies a process, also after its pid has been given to another."""

    pid: int
    started: int  # clock ticks after boot
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Self | None":
        """Return the identity of a living process; None when there is none."""
        fields = _stat(pid)
        if fields is None:
            return None
        return cls(pid=pid, started=int(fields[_STARTED]), boot=boot_id())

    def is_alive(self) -> bool:
        """Tell whether this very process runs."""
        fields = _stat(self.pid)
        if fields is None or fields[_STATE] == "Z":
            return False
        return int(fields[_STARTED]) == self.started and boot_id() == self.boot


def is_alive(pid: int) -> bool:
    """Tell whether a process with this pid runs."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] != "Z"


def save_identities(data: Path, pids: Iterable[int]) -> None:
    """Write down our programs, for the next `up` with this folder."""
    found = [ProcessIdentity.of(pid) for pid in pids]
    programs = [asdict(identity) for identity in found if identity is not None]
    write_private_json(data / "programs.json", {"programs": programs})


async def end_previous_programs(data: Path) -> int:
    """Wait for the programs of an earlier `up`, then kill them; return how many were killed."""
    try:
        told = json.loads((data / "programs.json").read_text())
        identities = [ProcessIdentity(**identity) for identity in told["programs"]]
    except (OSError, ValueError, TypeError, KeyError):
        return 0  # no file, or one that was cut short
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            # They are not our children: their end has to be polled.
            while any(identity.is_alive() for identity in identities):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    stayed = [identity for identity in identities if identity.is_alive()]
    for identity in stayed:
        with suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGKILL)
    return len(stayed)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (subreaper, prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans() -> int:
    """Kill every process below us; return how many were alive."""
    count = 0
    while children := _children():
        for pid in children:
            count += is_alive(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return count


def _children() -> list[int]:
    """Return the pids of our children, also of those not yet reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[_PARENT]) == os.getpid():
                found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
