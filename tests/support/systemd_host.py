"""A host whose init is systemd: a container that the agent is installed in as on a real one.

It has the engine's socket, this machine's network, and one folder that lies at the same path inside
and outside: the state directory, because the engine mounts run directories by their outer path.
"""

import asyncio
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from phonefarm_common.ids import new_id
from support.installed import install_agent
from support.live_farm import eventually

IMAGE = "phonefarm-systemd:bookworm-venv"
LABEL = "phonefarm.test=systemd"
PROGRAM = Path("/opt/phonefarm")
SERVICE = "phonefarm-agent"

_PYTHON = (3, 11)
_SOCKET = Path("/var/run/docker.sock")
_UP_SECONDS = 60.0
_KERNELS = ("/proc", "/sys", "/dev", "/run")
_PASSING = ("/tmp", "/var/tmp", "/var/log", str(PROGRAM))  # noqa: S108 - only passed over


@functools.cache
def missing() -> str | None:
    """Return why there can be no such host here; None when there can."""
    if sys.version_info[:2] != _PYTHON:
        return "the host's Python is 3.11, and the tests' own packages are installed there"
    try:
        seen = subprocess.run(
            ["docker", "image", "inspect", IMAGE], capture_output=True, check=False, timeout=180
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if seen.returncode != 0:
        return f"the engine has no image {IMAGE}: `scripts/provision.sh systemd`, as root"
    if os.geteuid() != 0 or not _SOCKET.is_socket():
        return f"needs root and {_SOCKET}: the host's state lies at one path inside and outside"
    return None


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command on the host said, and how it ended."""

    code: int
    out: str


class SystemdHost:
    """Made by `systemd_host`."""

    def __init__(self, container: str, state: Path, program: Path) -> None:
        self.container = container
        self.state = state
        self._program = program  # where the host's /opt/phonefarm is outside

    async def run(self, *words: str, code: int | None = 0, seconds: float = 180.0) -> str:
        """Run a command as root; return what it said. AssertionError unless it ends with *code*."""
        into = ("exec", "--env=LC_ALL=C.UTF-8", self.container)
        said = await docker(*into, *words, seconds=seconds)
        assert code is None or said.code == code, (words, said)
        return said.out

    async def agent(self, *words: str, code: int | None = 0, seconds: float = 180.0) -> str:
        """Run a verb of phonefarm-agent as root."""
        return await self.run(f"{PROGRAM}/bin/phonefarm-agent", *words, code=code, seconds=seconds)

    async def upgrade(self, version: str) -> None:
        """Have the program be of another *version*, as pip does in place."""
        [facts] = await asyncio.to_thread(
            lambda: list(self._program.glob("lib/*/site-packages/phonefarm-*.dist-info/METADATA"))
        )
        text = re.sub(r"(?m)^Version: .*$", f"Version: {version}", facts.read_text())
        facts.write_text(text)

    async def write(self, path: str, text: str) -> None:
        """Put a file on the host."""
        await self.run("sh", "-c", f'mkdir -p "$(dirname {path})" && printf %s "$0" > {path}', text)

    async def show(self, unit: str = SERVICE) -> dict[str, str]:
        """Return what systemd knows of a unit."""
        said = await self.run("systemctl", "show", unit)
        return dict(line.partition("=")[::2] for line in said.splitlines())

    async def until(
        self, within: float = 30.0, unit: str = SERVICE, **wanted: str
    ) -> dict[str, str]:
        """Return what systemd knows once each property has what is wanted as a part."""

        async def look() -> dict[str, str] | None:
            told = await self.show(unit)
            return told if all(part in told[name] for name, part in wanted.items()) else None

        try:
            return await eventually(look, within=within, what=str(wanted))
        except AssertionError as error:
            log = await self.run("journalctl", "--no-pager", "-n", "60", code=None)
            raise AssertionError(f"{error}\n{log}") from None

    async def events(self, *matches: str) -> list[dict[str, str]]:
        """Return the journal's entries of the agent that match FIELD=value, oldest first."""
        words = ["journalctl", "--no-pager", "-o", "json", "-u", SERVICE, *matches]
        return [json.loads(line) for line in (await self.run(*words)).splitlines()]

    async def files(self) -> set[str]:
        """Return every file of the host and of the state directory; not what is the kernel's."""
        left_out = " -o ".join(f"-path {path}" for path in _KERNELS + _PASSING)
        listing = await self.run("sh", "-c", f"find / \\( {left_out} \\) -prune -o -print")
        return set(listing.splitlines())

    async def reboot(self) -> None:
        """Stop everything in order, as a shutdown does, and start again."""
        await _must("restart", "--time=120", self.container, seconds=150)
        await self.up()

    async def up(self) -> None:
        """Return once systemd has started all there is to start."""

        async def look() -> bool:
            said = await docker("exec", self.container, "systemctl", "is-system-running")
            return said.out.strip() in {"running", "degraded"}

        await eventually(look, within=_UP_SECONDS, what="the host")


@asynccontextmanager
async def systemd_host(scratch: Path) -> AsyncIterator[SystemdHost]:
    """Start a host on which phonefarm is installed, but not the service; nothing of it stays."""
    program = scratch / "opt"
    await asyncio.to_thread(install_agent, program, seen_as=PROGRAM)
    async with started_host(program, "--network=host", f"--volume={program}:{PROGRAM}:ro") as host:
        yield host


@asynccontextmanager
async def started_host(program: Path, *options: str) -> AsyncIterator[SystemdHost]:
    """Start a host with a group for the engine's socket, and with *options* of `docker run`.

    *program* is where the host's /opt/phonefarm is outside.
    """
    name = f"pf-systemd-{new_id()[:8]}"
    state = Path(f"/var/lib/{name}")
    state.mkdir(mode=0o755)  # noqa: ASYNC240 - one local call
    try:
        words = ["run", "--detach", f"--name={name}", f"--label={LABEL}", "--cap-add=SYS_ADMIN"]
        words += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
        words += ["--cgroupns=private", "--tmpfs=/run", "--tmpfs=/run/lock"]
        words += ["--stop-signal=SIGRTMIN+3", "--env=container=docker"]
        words += [f"--volume={state}:{state}", f"--volume={_SOCKET}:/run/docker.sock", *options]
        await _must(*words, IMAGE, "/lib/systemd/systemd")
        try:
            host = SystemdHost(name, state, program)
            await host.up()
            group = str(_SOCKET.stat().st_gid)  # noqa: ASYNC240 - one local call
            await host.run("groupadd", "--non-unique", "--gid", group, "docker")
            yield host
        finally:
            await _must("rm", "--force", "--volumes", name)
    finally:
        shutil.rmtree(state, ignore_errors=True)


async def docker(*words: str, seconds: float = 180.0) -> Said:
    """Run a docker command to its end; TimeoutError after *seconds*."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(code=process.returncode or 0, out=out.decode(errors="replace"))


async def _must(*words: str, seconds: float = 180.0) -> None:
    said = await docker(*words, seconds=seconds)
    assert said.code == 0, (words, said)
