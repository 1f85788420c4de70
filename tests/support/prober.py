"""Tries, from inside a run container, what a run must not be able to do; sent as text (`-c`)."""
# ruff: noqa: S108, T201 - /tmp is the container's own, and printing is how it tells

import contextlib
import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ADB = {"adb", "adb.exe"}
OUTSIDE = ("198.51.100.1", 80)  # documentation addresses, RFC 5737: nobody is there


def status(field: str) -> str:
    """Return one field of proc(5) status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def everything(root: str = "/") -> Iterator[tuple[Path, int]]:
    """Yield path and mode of all there is below *root*, /proc left out; links are not followed."""
    for folder, folders, names in os.walk(root):
        if folder == "/":
            folders.remove("proc")
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            with contextlib.suppress(OSError):
                yield path, path.lstat().st_mode


def writable() -> list[str]:
    """Return the folders in which a file can be made, by trying each."""
    found = []
    for folder, mode in everything():
        if stat.S_ISDIR(mode):
            with contextlib.suppress(OSError):
                (folder / "phonefarm-probe").write_bytes(b"")
                (folder / "phonefarm-probe").unlink()
                found.append(str(folder))
    return found


def privileged_files() -> list[str]:
    """Return files that would run as somebody else."""
    lent = stat.S_ISUID | stat.S_ISGID
    return [str(path) for path, mode in everything() if stat.S_ISREG(mode) and mode & lent]


def sockets() -> list[str]:
    """Return every unix socket there is a name for."""
    return [str(path) for path, mode in everything() if stat.S_ISSOCK(mode)]


def connect(address: tuple[str, int]) -> str:
    """Return `connected`, or the error's name."""
    with socket.socket() as one:
        one.settimeout(60)
        one.connect(address)
    return "connected"


def raw_socket() -> str:
    """Try to make a socket that sees other people's packets."""
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "made"


def execute_from_tmp() -> str:
    """Try to run a program brought along."""
    tool = Path("/tmp/tool")
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o700)
    subprocess.run([str(tool)], check=True)
    return "executed"


def become_root() -> str:
    """Try to change who we are."""
    os.setuid(0)
    return "root"


def mount() -> str:
    """Try to mount a file system."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "mounted"


def fill_tmp() -> int:
    """Return how many MiB fit."""
    path, written = Path("/tmp/fill"), 0
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while written < 1024:
            file.write(bytes(1024 * 1024))
            written += 1
    path.unlink()
    return written


def fork_until_refused() -> int:
    """Return how many processes there can be at once beside us."""
    children: list[int] = []
    try:
        while len(children) < 1000:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(children)


def host_processes() -> int:
    """Return how many processes can be seen."""
    return sum(path.name.isdigit() for path in Path("/proc").iterdir())


PROBES: dict[str, Callable[[], Any]] = {
    "interfaces": lambda: sorted(path.name for path in Path("/sys/class/net").iterdir()),
    "routes": lambda: Path("/proc/net/route").read_text().splitlines()[1:],
    "outside": lambda: connect(OUTSIDE),
    "host_loopback": lambda: connect(("127.0.0.1", int(os.environ["HOST_PORT"]))),
    "raw_socket": raw_socket,
    "writable": writable,
    "execute_from_tmp": execute_from_tmp,
    "fill_tmp": fill_tmp,
    "ids": lambda: [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()],
    "become_root": become_root,
    "capabilities": lambda: {
        kind: int(status(kind), 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    },
    "no_new_privileges": lambda: status("NoNewPrivs"),
    "seccomp": lambda: status("Seccomp"),
    "privileged_files": privileged_files,
    "mount": mount,
    "sockets": sockets,
    "processes": host_processes,
    "fork_until_refused": fork_until_refused,
    "environment": lambda: sorted(os.environ),
    "adb_programs": lambda: [str(path) for path, _ in everything() if path.name in ADB],
}


def main() -> None:
    """Print one JSON line per probe: its name, what it found or which error refused it."""
    for name, probe in PROBES.items():
        try:
            found: Any = probe()
        except Exception as error:  # noqa: BLE001 - whatever refused it is the finding
            found = f"refused: {type(error).__name__}: {error}"
        print(json.dumps({"probe": name, "found": found}), flush=True)


if __name__ == "__main__":
    main()
