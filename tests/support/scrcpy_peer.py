"""An adb server with one phone whose scrcpy-server says what the test tells it to.

It speaks the adb server's protocol and that of scrcpy 3.3.4 (doc/develop.md), so the agent's own
code runs against it unchanged.
"""

import asyncio
import hashlib
import io
import re
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from PIL import Image

SERIAL = "phone-1"
TALL = bytes.fromhex("000000016742c01fda0240286840000003004000000f23c60ca80000000168ce0fc8")
"""SPS and PPS of 576 x 1280."""
WIDE = bytes.fromhex("000000016742c01fda0140126840000003004000000f23c60ca80000000168ce0fc8")
"""SPS and PPS of 1280 x 576."""
_CONFIG, _KEY = 1 << 63, 1 << 62


def png(colour: tuple[int, int, int] = (10, 20, 30)) -> bytes:
    """Return a picture of 90 x 200 pixels."""
    out = io.BytesIO()
    Image.new("RGB", (90, 200), colour).save(out, "PNG")
    return out.getvalue()


@dataclass(kw_only=True)
class Server:
    """One scrcpy-server that was started, and its sockets."""

    options: dict[str, str]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    video: asyncio.StreamWriter | None = None
    control: asyncio.StreamWriter | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(kw_only=True)
class ScrcpyPeer:
    """The phone: what it was sent, and how it behaves; a test may change it at any moment."""

    port: int = 0
    refuses: Callable[[dict[str, str]], str] = lambda _: ""
    """Returns what the server prints before it ends; "" lets it run."""
    says: bytes = b""
    """What a running server prints."""
    gone: bool = False
    picture: bytes = field(default_factory=png)
    dump: str = ""
    jar: bytes = b""
    servers: list[Server] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)
    resets: int = 0
    commands: list[str] = field(default_factory=list)
    captures: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    reads_control: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def server(self) -> Server:
        """Return the newest server."""
        return self.servers[-1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once it is so; TimeoutError after a minute."""
        async with asyncio.timeout(180), self.news:
            await self.news.wait_for(holds)

    async def changed(self) -> None:
        """Have those look again that wait for something."""
        async with self.news:
            self.news.notify_all()

    async def send(self, data: bytes, *, config: bool = False, key: bool = False) -> None:
        """Send one packet of video from the newest server."""
        await self.server.ready.wait()
        head = (_CONFIG if config else 0) | (_KEY if key else 0) | 1000
        writer = self.server.video
        assert writer is not None
        writer.write(struct.pack(">QI", head, len(data)) + data)
        await writer.drain()

    async def begin(self, config: bytes = TALL, frame: bytes = b"key") -> None:
        """Send a configuration and a key frame."""
        await self.until(lambda: bool(self.servers) and self.server.ready.is_set())
        await self.send(config, config=True)
        await self.send(frame, key=True)

    async def say(self, data: bytes) -> None:
        """Send bytes as the phone's messages."""
        assert self.server.control is not None
        self.server.control.write(data)
        await self.server.control.drain()

    # The adb server.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to the adb server."""
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await self.changed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await _request(reader) == f"host:transport:{SERIAL}"
        if self.gone:
            writer.write(b"FAIL" + _counted(b"device not found"))
            return
        writer.write(b"OKAY")
        kind, _, rest = (await _request(reader)).partition(":")
        if kind == "sync":
            writer.write(b"OKAY")
            await self._sync(reader, writer)
        elif kind == "localabstract":
            await self._socket(rest, reader, writer)
        else:
            writer.write(b"OKAY")
            self.commands.append(rest)
            await self._shell(rest, reader, writer)

    async def _shell(
        self, command: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if "app_process" in command and "scrcpy" in command:
            await self._run_server(command, reader, writer)
        elif command.startswith("sha256sum"):
            digest = hashlib.sha256(self.jar).hexdigest() if self.jar else ""
            _exit(writer, f"{digest}  it\n".encode() if digest else b"")
        elif command == "screencap -p":
            self.captures += 1
            _exit(writer, self.picture)
            await self.changed()
        elif "uiautomator dump" in command:
            _exit(writer, self.dump.encode())
        elif "com.wetest.uia2.Main" in command:
            _exit(writer, b"no UI server on this phone\n")
        else:
            _exit(writer, b"", code=1 if command.startswith("pkill") else 0)

    async def _run_server(
        self, command: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        options = dict(re.findall(r"(\w+)=(\S+)", command.partition("scrcpy.Server")[2]))
        server = Server(options=options)
        said = self.refuses(options)
        if said:
            self.servers.append(server)
            server.stop.set()
            _exit(writer, said.encode(), code=1)
            return
        self.servers.append(server)
        if self.says:
            writer.write(_packet(1, self.says))
        gone = asyncio.create_task(reader.read(1))
        stopped = asyncio.create_task(server.stop.wait())
        await asyncio.wait({gone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        stopped.cancel()
        for each in (server.video, server.control):
            if each is not None:
                each.close()
        server.stop.set()
        _exit(writer, b"")

    async def _socket(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server = next(
            (each for each in self.servers if name == f"scrcpy_{each.options['scid']}"), None
        )
        if server is None or server.stop.is_set():
            writer.write(b"FAIL" + _counted(b"closed"))
            return
        writer.write(b"OKAY")
        if server.video is None:
            server.video = writer
            writer.write(b"\0")
            await server.stop.wait()
            return
        server.control = writer
        size = struct.pack(">II", 576, 1280)
        server.video.write(b"a phone".ljust(64, b"\0") + b"h264" + size)
        server.ready.set()
        await self.changed()
        await self._read_control(reader)

    async def _read_control(self, reader: asyncio.StreamReader) -> None:
        lengths = {0: 14, 2: 32, 3: 21, 4: 2, 8: 2, 11: 1, 17: 1}
        while True:
            kind = (await reader.readexactly(1))[0]
            await self.reads_control.wait()
            if kind in {1, 9}:
                head = await reader.readexactly(4 if kind == 1 else 13)
                message = head + await reader.readexactly(int.from_bytes(head[-4:], "big"))
            else:
                message = await reader.readexactly(lengths[kind] - 1)
            if kind == 17:
                self.resets += 1
            else:
                self.control.append(bytes([kind]) + message)
            await self.changed()

    async def _sync(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.jar = b""
        while True:
            word, length = struct.unpack("<4sI", await reader.readexactly(8))
            if word == b"DONE":
                writer.write(struct.pack("<4sI", b"OKAY", 0))
                return
            data = await reader.readexactly(length)
            if word == b"DATA":
                self.jar += data


@asynccontextmanager
async def scrcpy_peer() -> AsyncIterator[ScrcpyPeer]:
    """Yield the phone behind its adb server, on 127.0.0.1."""
    peer = ScrcpyPeer()
    peer.reads_control.set()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        for each in peer.servers:
            each.stop.set()
        server.close()


async def _request(reader: asyncio.StreamReader) -> str:
    length = int(await reader.readexactly(4), 16)
    return (await reader.readexactly(length)).decode()


def _counted(text: bytes) -> bytes:
    return b"%04x" % len(text) + text


def _packet(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(4, "little") + data


def _exit(writer: asyncio.StreamWriter, out: bytes, *, code: int = 0) -> None:
    if out:
        writer.write(_packet(1, out))
    writer.write(_packet(3, bytes([code])))
