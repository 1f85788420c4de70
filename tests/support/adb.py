"""A private adb server: the real binary, on a port of its own, with keys of its own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import adbutils
from support.ports import free_port

START_SECONDS = 15.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an adb command said and how it ended."""

    status: int
    out: bytes
    error: bytes

    @property
    def text(self) -> str:
        """The output as text without the last line's end."""
        return self.out.decode().rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class AdbServer:
    """A running server; `environment` is what every client of it must be started with."""

    binary: str
    port: int
    pid: int
    environment: dict[str, str]

    async def run(
        self, *words: str, serial: str | None = None, stdin: bytes = b"", timeout: float = 60.0
    ) -> Answer:
        """Run one adb command to its end; kill it and raise TimeoutError after `timeout`."""
        chosen = ["-s", serial] if serial is not None else []
        process = await asyncio.create_subprocess_exec(
            self.binary,
            "-P",
            str(self.port),
            *chosen,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        try:
            async with asyncio.timeout(timeout):
                out, error = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Answer(status=process.returncode or 0, out=out, error=error)

    async def shell(self, serial: str, command: str, *, timeout: float = 60.0) -> Answer:
        """Run one shell command on a phone."""
        return await self.run("shell", command, serial=serial, timeout=timeout)

    async def connect(self, address: str) -> None:
        """Connect to a phone and wait until it answers; AssertionError when adb says no."""
        answer = await self.run("connect", address)
        assert "connected to" in answer.text, answer
        await self.run("wait-for-device", serial=address, timeout=180)

    async def state_of(self, serial: str) -> str:
        """Return what `adb devices` says of a phone; empty when it is not listed."""
        listing = await self.run("devices")
        for line in listing.text.splitlines()[1:]:
            name, _tab, state = line.partition("\t")
            if name == serial:
                return state
        return ""

    async def wait_for_state(self, serial: str, *states: str, timeout: float = 60.0) -> str:
        """Return the first of `states` that `adb devices` shows; TimeoutError when none comes."""
        async with asyncio.timeout(timeout):
            while True:
                state = await self.state_of(serial)
                if state in states:
                    return state
                await asyncio.sleep(0.05)  # adb has no way to be told of a single state

    def client(self) -> adbutils.AdbClient:
        """Return an adbutils client of this server; its calls block."""
        return adbutils.AdbClient(host="127.0.0.1", port=self.port)


@asynccontextmanager
async def adb_server(directory: Path) -> AsyncIterator[AdbServer]:
    """Start a server that keeps its keys and its log in `directory`; kill it at the end."""
    home = directory / "adb-home"
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANDROID_")},
        "HOME": str(home),
        "TMPDIR": str(home),
        "ADB_EMU": "0",
        "ADB_MDNS": "0",
        "ADB_MDNS_AUTO_CONNECT": "0",
        "ADB_USB": "0",
        "ANDROID_ADB_SERVER_PORT": str(port),
    }
    binary = adbutils.adb_path()
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary,
            "-L",
            f"tcp:localhost:{port}",
            "server",
            "nodaemon",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        await _answers(process, port, home / "server.log")
        yield AdbServer(binary=binary, port=port, pid=process.pid, environment=environment)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # the server has no ready-file
                continue
            try:
                writer.write(b"000chost:version")
                if await reader.read(4) == b"OKAY":
                    return
            finally:
                writer.close()
    said = await asyncio.to_thread(log.read_text)
    raise RuntimeError(f"adb server ended at its start:\n{said}")
