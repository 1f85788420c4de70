"""A container engine of a test's own, which may be killed.

Its containerd is a process of its own, as on a host with systemd, and stays when the engine dies.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from phonefarm_agent.runtimes.docker_engine import Engine
from phonefarm_agent.runtimes.interface import RuntimeFailedError

_START_SECONDS = 30
_STOP_SECONDS = 30
_COPY_SECONDS = 120


class PrivateEngine:
    """A dockerd with its own socket and data; DOCKER_HOST names it while it is used."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix://{folder}/docker.sock"
        self._before = os.environ.get("DOCKER_HOST")
        self._folder = folder
        self._containerd: asyncio.subprocess.Process | None = None
        self._engine: asyncio.subprocess.Process | None = None

    @staticmethod
    def missing() -> str | None:
        """Return why there can be none on this machine."""
        if shutil.which("dockerd") is None or shutil.which("docker") is None:
            return "a private engine needs dockerd and docker here"
        return None if os.geteuid() == 0 else "only root can start a private engine"

    async def start(self) -> None:
        """Start, or start again on the same data; return once it answers."""
        if self._containerd is None:
            self._containerd = await self._start_containerd()
        options = [f"--host={self.address}", "--live-restore", f"--containerd={self._backend}"]
        options += [f"--data-root={self._folder}/data", f"--exec-root={self._folder}/exec"]
        options += [f"--pidfile={self._folder}/pid", "--bridge=none"]
        options += ["--iptables=false", "--ip6tables=false"]
        self._engine = await self._spawn("dockerd", *options)
        async with asyncio.timeout(_START_SECONDS):
            while not await asyncio.to_thread(self._answers):  # noqa: ASYNC110 - it raises no event
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """Kill it as a crash does; what it runs goes on."""
        await _end(self._engine, signal.SIGKILL)

    async def stop(self) -> None:
        """Remove its containers and end it."""
        with contextlib.suppress(RuntimeFailedError):  # it may never have come up
            for container in await asyncio.to_thread(Engine().containers, {}):
                await asyncio.to_thread(Engine().remove, container.id)
        await _end(self._engine, signal.SIGTERM)
        await _end(self._containerd, signal.SIGTERM)

    async def copy_image(self, image: str) -> None:
        """Bring *image* from the engine that DOCKER_HOST named before."""
        environment = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"}
        if self._before is not None:
            environment["DOCKER_HOST"] = self._before
        save = await asyncio.create_subprocess_shell(
            f"docker save {image} | docker --host {self.address} load",
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        async with asyncio.timeout(_COPY_SECONDS):
            assert await save.wait() == 0

    @property
    def _backend(self) -> Path:
        return self._folder / "containerd.sock"

    async def _start_containerd(self) -> asyncio.subprocess.Process:
        settings = self._folder / "containerd.toml"
        await asyncio.to_thread(
            settings.write_text,
            f'version = 2\nroot = "{self._folder}/c"\nstate = "{self._folder}/s"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._backend}"\n',
        )
        return await self._spawn("containerd", f"--config={settings}")

    async def _spawn(self, *command: str) -> asyncio.subprocess.Process:
        with (self._folder / f"{command[0]}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        try:
            Engine().version()
        except RuntimeFailedError:
            return False
        return True


async def _end(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    if process is not None and process.returncode is None:
        process.send_signal(number)
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()


@contextlib.asynccontextmanager
async def private_engine() -> AsyncIterator[PrivateEngine]:
    """Run an engine until the block ends; DOCKER_HOST is its own meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="pf-eng-", dir="/tmp"))
    engine = PrivateEngine(folder)
    with _docker_host(engine.address):
        try:
            try:
                await engine.start()
                yield engine
            finally:
                await engine.stop()
        finally:
            await asyncio.to_thread(_remove, folder)


@contextlib.contextmanager
def _docker_host(address: str) -> Iterator[None]:
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = address
    try:
        yield
    finally:
        del os.environ["DOCKER_HOST"]
        if before is not None:
            os.environ["DOCKER_HOST"] = before


def _remove(folder: Path) -> None:
    """Remove the folder and what the engine mounted below it (it mounts its data on itself)."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(folder, ignore_errors=True)
