"""The two ends of a proxy under test: an adb server that keeps what it was sent, and a client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.proxy.proxy import run_proxy
from phonefarm_common.clock import Clock, SystemClock

SERIAL = "127.0.0.1:40001"
FOLDER = "/data/local/tmp/phonefarm/run-1"
PACKAGE = "com.example.shortvideo"


@dataclass(kw_only=True)
class Server:
    """An adb server of one phone that answers OKAY and keeps every request and every byte after."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    answer: bytes = b"done"
    hold: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak to one client until it leaves."""
        try:
            request = await _read(reader)
            self.requests.append(request)
            if request.startswith(("host:transport:", "host:tport:")):
                writer.write(b"OKAY" + b"\x07\0\0\0\0\0\0\0" * request.startswith("host:tport:"))
                await self._serve_service(reader, writer)
            else:
                text = {
                    "host:devices": f"{SERIAL}\tdevice\nOTHER\tdevice\n",
                    f"host-serial:{SERIAL}:features": "shell_v2,cmd",
                    f"host-serial:{SERIAL}:get-state": "device",
                    "host:host-features": "shell_v2",
                }[request]
                writer.write(b"OKAY" + f"{len(text):04x}{text}".encode())
        except (ConnectionError, EOFError):
            pass
        finally:
            writer.close()

    async def _serve_service(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        service = await _read(reader)
        self.services.append(service)
        writer.write(b"OKAY" + self.answer)
        await self._tell()
        while self.hold or service == "sync:":
            data = await reader.read(65536)
            if not data:
                return
            self.data += data
            await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, count: int) -> None:
        """Return once *count* bytes or more followed a service."""
        async with asyncio.timeout(180), self.changed:
            await self.changed.wait_for(lambda: len(self.data) >= count)


_TURNS = 1000


async def ended_at_once(reader: asyncio.StreamReader) -> bool:
    """Tell whether the peer's end is here, or comes in turns of the loop that wait for nothing.

    A hundred milliseconds would say the same, but of the machine as well.
    """
    for _ in range(_TURNS):
        if reader.at_eof() or reader.exception() is not None:
            return True
        await asyncio.sleep(0)
    return False


async def _read(reader: asyncio.StreamReader) -> str:
    length = int(await reader.readexactly(4), 16)
    return (await reader.readexactly(length)).decode()


@asynccontextmanager
async def recording_server() -> AsyncIterator[Server]:
    """Yield a listening Server."""
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@dataclass(kw_only=True)
class Bench:
    """A proxy between a recording server and whoever dials `path`."""

    path: Path
    server: Server
    gate: Gate

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection to the proxy."""
        return await asyncio.open_unix_connection(str(self.path))

    async def ask(self, *requests: str) -> bytes:
        """Send the requests one after the other and return all that came back until the end."""
        reader, writer = await self.dial()
        answers = bytearray()
        try:
            async with asyncio.timeout(180):
                for request in requests:
                    writer.write(f"{len(request.encode()):04x}{request}".encode())
                    if request is not requests[-1]:
                        answers += await reader.read(4)
                    if bytes(answers) not in {b"", b"OKAY"}:
                        break
                answers += await reader.read(-1)
        except ConnectionError:
            pass  # the proxy hung up on us; what it said before is what counts
        finally:
            writer.close()
        return bytes(answers)

    async def open(self, service: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection whose *service* the proxy took."""
        reader, writer = await self.dial()
        async with asyncio.timeout(180):
            for request in (f"host:transport:{SERIAL}", service):
                writer.write(f"{len(request.encode()):04x}{request}".encode())
                if (status := await reader.readexactly(4)) != b"OKAY":
                    raise AssertionError(status + await reader.read(-1))
        return reader, writer

    async def shell(self, command: str, service: str = "shell,v2,raw") -> bytes:
        """Return what the proxy answered to one command."""
        return await self.ask(f"host:transport:{SERIAL}", f"{service}:{command}")


@asynccontextmanager
async def proxy_bench(
    folder: Path,
    *,
    going: bool = True,
    seconds: float = 180,
    clock: Clock | None = None,
    port: int | None = None,
) -> AsyncIterator[Bench]:
    """Yield a proxy whose lease lives for *seconds*; *port* stands in for the server's own."""
    clock = clock or SystemClock()
    gate = Gate(deadline=clock.monotonic() + seconds, clock=clock, going=going)
    async with (
        recording_server() as server,
        run_proxy(
            path=folder / "adb.sock",
            upstream=("localhost", server.port if port is None else port),
            serial=SERIAL,
            phone_folder=FOLDER,
            package=PACKAGE,
            gate=gate,
        ),
    ):
        yield Bench(path=folder / "adb.sock", server=server, gate=gate)
