"""Programs of the farm, each started as a copy of a process that has imported them already.

A fresh `python -m phonefarm_controller` spends a second of processor on its imports, and the tests
start hundreds of programs. `preload` lets each `subprocess` of this process that starts one of them
have it forked by one preloaded process, as a child of this process, with its own arguments,
environment, directory, descriptors and session, also in /proc. From there on all is as ever: the
module's `__main__` runs, and the interpreter ends as it does. `phonefarm up` starts its programs
the same way.

What differs from a fresh start: the imports, which the programs have in common here. Tests of the
start itself carry the marker `fresh_start`. This file runs as a script too: it is the process that
is forked, which must import nothing but what it says.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import platform
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

IMPORTED: Final = (
    "alembic.command",  # by a controller that makes a schema
    "phonefarm_agent.host.run_commands",
    "phonefarm_cli.up.command",
    "phonefarm_controller.app.program",
    "phonefarm_executor.main",
    "phonefarm_gateway.program",
    "phonefarm_simulator.program",
)
"""What the programs load when they run."""
_TESTS: Final = str(Path(__file__).resolve().parents[1])
_STARTERS: Final = {"up", "demo"}
"""Commands of `phonefarm` that start programs."""
_ROOM: Final = 32_768
"""Bytes for a program's command line in /proc, and for its environment."""
_MOST_DESCRIPTORS: Final = 64
_TAKEN_ON: Final = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Variables for Python's own start that a program does not have to be started afresh for."""

# linux/sched.h, linux/prctl.h; the number of clone(2) on x86-64.
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_PR_SET_PDEATHSIG, _PR_GET_TID_ADDRESS = 1, 40
_SYS_CLONE = 56
_ARGUMENTS, _ENVIRONMENT = 48, 50
"""Where /proc/PID/stat tells their memory, proc(5)."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a program is started: what execve(2) and the calls before it would be given."""

    words: list[str]
    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    numbers: list[int]
    """What the descriptors that are sent with this are in the program, in their order."""
    session: bool
    group: int
    parent: int = 0
    parent_death_signal: int = 0


POSSIBLE: Final = sys.platform == "linux" and platform.machine() == "x86_64"
_fresh = subprocess._fork_exec  # type: ignore[attr-defined]
_lock = threading.Lock()
_door: socket.socket | None = None
_ready = False
_allowed = True


def preload() -> None:
    """Have programs of the farm that this process starts forked, where the platform allows it."""
    if POSSIBLE:
        subprocess._fork_exec = _fork_exec  # type: ignore[attr-defined]


def allow(allowed: bool) -> None:
    """Say whether programs may be forked from now on, or have to be started afresh."""
    global _allowed  # noqa: PLW0603 - one switch for the one `subprocess`
    _allowed = allowed


def is_ready(*, wait: bool) -> bool:
    """Tell whether the preloaded process can be forked, or wait until it can; it is started here.

    While it imports, programs are started afresh: who starts one may have a loop that must not
    stand still for seconds.
    """
    global _door, _ready  # noqa: PLW0603 - one for this process
    with _lock:
        if _door is None:
            _door = _opened()
        if not _ready:
            try:
                said = _door.recv(16, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if not said:
                raise RuntimeError("the preloaded process has ended: its error is above")
            _ready = True
    return True


def _fork_exec(*given: Any) -> int:
    """Do as CPython's own, which `subprocess` calls: return the process id of the child."""
    found = _start(given) if _allowed else None
    if found is None or not is_ready(wait=False):
        pid: int = _fresh(*given)
        return pid
    start, descriptors = found
    with _lock:
        return _asked(start, descriptors)


def _start(given: Sequence[Any]) -> tuple[Start, list[int]] | None:
    """Return what is asked for, and the descriptors; None for what needs a fresh start."""
    words = [os.fsdecode(word) for word in given[0]]
    kept, directory, environment = given[3:6]
    own = [pipe if pipe >= 0 else place for place, pipe in enumerate((given[6], *given[9:12:2]))]
    passed = sorted(set(kept) - {given[13]})
    ordinary = given[2] and given[17:22] == (None, None, None, -1, None)
    parent = parent_death_signal = 0
    command = words
    if words[1:2] == ["-ISc"] and "os.execv(sys.argv[3]" in words[2] and len(words) > 5:
        parent, parent_death_signal, command = int(words[3]), int(words[4]), words[5:]
    if not ordinary or command[:2] != [sys.executable, "-m"] or len(command) < 3:
        return None
    module = command[2]
    start = Start(
        words=command,
        module=module,
        arguments=command[3:],
        environment=_environment(environment),
        directory=os.fsdecode(directory) if directory else os.getcwd(),  # noqa: PTH109 - a str
        numbers=[0, 1, 2, *passed],
        session=given[15],
        group=given[16],
        parent=parent,
        parent_death_signal=parent_death_signal,
    )
    return (start, [*own, *passed]) if _can_be_forked(start) else None


def _environment(given: Sequence[bytes] | None) -> dict[str, str]:
    if given is None:
        return dict(os.environ)
    return dict(os.fsdecode(one).split("=", 1) for one in given)


def _can_be_forked(start: Start) -> bool:
    ours = any(module.startswith(f"{start.module}.") for module in IMPORTED)
    path = start.environment.get("PYTHONPATH", "")
    return (
        (ours or start.module.startswith("support."))  # of the tests: a program with a change
        and path in {"", _TESTS}  # else packages may be others
        and not any(
            value and name.startswith(("PYTHON", "LD_")) and name not in _TAKEN_ON
            for name, value in start.environment.items()
        )
        and Path(start.directory).is_dir()
        and max(len(_command_line(start)), len(_environ(start))) < _ROOM
    )


def _command_line(start: Start) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in start.words)


def _environ(start: Start) -> bytes:
    return b"".join(os.fsencode(f"{k}={v}") + b"\0" for k, v in start.environment.items())


def _asked(start: Start, descriptors: list[int]) -> int:
    """Have the preloaded process fork; return the process id."""
    assert _door is not None
    told = os.memfd_create("start")
    try:
        os.write(told, json.dumps(asdict(start)).encode())
        socket.send_fds(_door, [b"s"], [told, *descriptors])
    finally:
        os.close(told)
    answer = _door.recv(16)
    if not answer:
        raise RuntimeError(f"the preloaded process has ended: {start.words} cannot be started")
    return int(answer)


def _opened() -> socket.socket:
    """Start the preloaded process, which ends with this one; return the way to it."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        process = subprocess.Popen(
            [sys.executable, __file__, str(there.fileno()), "-" * _ROOM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**own, "ROOM": "-" * _ROOM},
            cwd="/",
            pass_fds=[there.fileno()],
        )

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


# From here on: what the preloaded process does.


def _main() -> None:
    """Import the programs, fork for each request, and be the program in each copy."""
    door = socket.socket(fileno=int(sys.argv[1]))
    _write_over(_ARGUMENTS, os.fsencode(f"{sys.executable}\0{__file__}\0"))  # not the room
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the copies share this memory until they write to it
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"an import has started a thread, and {threads} cannot be forked")
    door.send(b"ready")
    start, descriptors = _serve(door)
    _become(start, descriptors)
    runpy.run_module(start.module, run_name="__main__", alter_sys=True)


def _serve(door: socket.socket) -> tuple[Start, list[int]]:
    """Fork for each request: return it in the copy; end with whoever asks."""
    clone = _Clone()
    while True:
        message, descriptors, _, _ = socket.recv_fds(door, 1, _MOST_DESCRIPTORS)
        if not message:
            sys.exit()
        told, *sent = descriptors
        if pid := clone():
            door.send(str(pid).encode())
            for each in descriptors:
                os.close(each)
            continue
        door.close()
        with open(told, "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            start = Start(**json.load(file))
        if start.module == "phonefarm_cli" and _STARTERS & set(start.arguments):
            preload()
            return _with_another(start, sent)
        return start, sent


def _with_another(start: Start, sent: list[int]) -> tuple[Start, list[int]]:
    """Return the request again, with a preloaded process of the program's own beside it."""
    global _door, _ready
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        there.close()
        _door, _ready = here, True
        return start, sent
    here.close()
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in sent:
        os.close(each)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    return _serve(there)


class _Clone:
    """fork(2), but the child's parent is this process's parent: CLONE_PARENT of clone(2).

    Like fork of glibc it has the kernel put the child's thread id to where glibc keeps it.
    """

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long
        self._thread_id = ctypes.c_ulong()
        if self._libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(self._thread_id), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_GET_TID_ADDRESS")
        self._python = ctypes.pythonapi
        for name in ("PyOS_BeforeFork", "PyOS_AfterFork_Child", "PyOS_AfterFork_Parent"):
            getattr(self._python, name).restype = None

    def __call__(self) -> int:
        """Return the child's process id, and 0 in the child; OSError."""
        flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | signal.SIGCHLD
        words = [ctypes.c_long(each) for each in (_SYS_CLONE, flags, 0, 0)]
        self._python.PyOS_BeforeFork()
        pid: int = self._libc.syscall(*words, self._thread_id, ctypes.c_long(0))
        if pid:
            self._python.PyOS_AfterFork_Parent()
        else:
            self._python.PyOS_AfterFork_Child()
        if pid < 0:
            raise OSError(ctypes.get_errno(), "clone")
        return pid


def _become(start: Start, sent: list[int]) -> None:
    """Take on all that the program is given; its standard streams are as at a fresh start."""
    _take_descriptors(start.numbers, sent)
    if start.session:
        os.setsid()
    if start.group >= 0:
        os.setpgid(0, start.group)
    os.chdir(start.directory)
    libc = ctypes.CDLL(None)
    os.environ.clear()
    libc.clearenv()
    os.environ.update(start.environment)
    time.tzset()
    _show_in_proc(_command_line(start), _environ(start))
    path = start.environment.get("PYTHONPATH")
    sys.path[:1] = [start.directory, *([path] if path else [])]
    sys.argv = [start.module, *start.arguments]
    sys.orig_argv = start.words
    _renew_streams()
    if start.parent:
        libc.prctl(_PR_SET_PDEATHSIG, start.parent_death_signal)
        if os.getppid() != start.parent:
            os._exit(0)


def _take_descriptors(numbers: list[int], sent: list[int]) -> None:
    """Give each descriptor its number, and close what it came as."""
    above = max(numbers) + 1
    safe = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, above) for each in sent]
    for each in sent:
        os.close(each)
    for number, descriptor in zip(numbers, safe, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _show_in_proc(command_line: bytes, environ: bytes) -> None:
    """Write over the arguments and the environment this process was started with: proc(5)."""
    _write_over(_ARGUMENTS, command_line)
    _write_over(_ENVIRONMENT, environ)


def _write_over(place: int, content: bytes) -> None:
    """Fill the memory whose begin and end are these fields of /proc/PID/stat."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = (int(field) for field in fields[place - 3 : place - 1])
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, content, len(content))


def _renew_streams() -> None:
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        before = getattr(sys, name)
        raw = io.FileIO(number, mode, closefd=False)
        kind: Any = io.BufferedReader if mode == "r" else io.BufferedWriter
        stream = io.TextIOWrapper(
            raw if at_once and mode == "w" else kind(raw),
            encoding=before.encoding,
            errors=before.errors,
            line_buffering=name == "stderr" or raw.isatty(),
            write_through=at_once,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    _main()
