"""A small client of scrcpy-server 3.3.4, written for tests from the protocol alone."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.adb import AdbServer
from support.live_farm import eventually

REMOTE = "/data/local/tmp/scrcpy-server.jar"
PATIENCE_SECONDS = 180.0
SCID = 0x1234ABCD


class RefusedError(Exception):
    """The adb server opens no such service on that phone."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One packet of the video."""

    configuration: bool
    key_frame: bool
    microseconds: int
    data: bytes


@dataclass(kw_only=True)
class ScreenClient:
    """A running session: its two sockets, and what the server has printed."""

    name: str
    codec: bytes
    size: tuple[int, int]
    video: asyncio.StreamReader
    control: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    output: bytearray
    ended: "asyncio.Task[None]"
    configuration: bytes = b""
    _decoder: Any = field(default=None)

    async def packet(self, within: float = PATIENCE_SECONDS) -> Packet:
        """Return the next packet; IncompleteReadError at the end, TimeoutError when none comes."""
        async with asyncio.timeout(within):
            head, size = struct.unpack(">QI", await self.video.readexactly(12))
            data = await self.video.readexactly(size)
        packet = Packet(
            configuration=bool(head >> 63),
            key_frame=bool(head >> 62 & 1),
            microseconds=head & (1 << 62) - 1,
            data=data,
        )
        if packet.configuration:
            self.configuration, self._decoder = data, None
        return packet

    async def picture(self) -> Any:
        """Return the next picture of the video, decoded (PIL)."""
        import av  # noqa: PLC0415 -- only tests that decode pay for it

        while True:
            packet = await self.packet()
            if packet.configuration:
                continue
            if self._decoder is None:
                if not packet.key_frame:
                    continue
                self._decoder = av.CodecContext.create("h264", "r")
            whole = self.configuration * packet.key_frame + packet.data
            for picture in self._decoder.decode(av.Packet(whole)):
                return picture.to_image()

    def send(self, message: bytes) -> None:
        """Send a control message."""
        self.control[1].write(message)

    def touch(
        self, action: int, x: int, y: int, *, finger: int = 7, size: tuple[int, int] | None = None
    ) -> None:
        """Send a touch for the video's size, or for another."""
        width, height = size or self.size
        self.send(struct.pack(">BBQiiHHHII", 2, action, finger, x, y, width, height, 0xFFFF, 1, 1))

    def tap(self, x: int, y: int, *, size: tuple[int, int] | None = None) -> None:
        """Touch a point and let go."""
        self.touch(0, x, y, size=size)
        self.touch(1, x, y, size=size)

    async def told(self, length: int) -> bytes:
        """Return so many bytes of what the phone says on the control socket."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.control[0].readexactly(length)

    async def printed(self, text: str) -> str:
        """Return the server's output once *text* is in it."""

        async def found() -> bool:
            return text.encode() in self.output

        await eventually(found, what=f"{text!r} of the server")
        return self.output.decode()


async def opened(
    adb: AdbServer, serial: str, service: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a service of a phone through the adb server; RefusedError when there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", adb.port)
    for request in (f"host:transport:{serial}", service):
        writer.write(f"{len(request):04x}{request}".encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            status = await reader.readexactly(4)
        if status != b"OKAY":
            writer.close()
            raise RefusedError(request)
    return reader, writer


@asynccontextmanager
async def started(
    adb: AdbServer, serial: str, jar: Path, *, version: str = "3.3.4", **options: Any
) -> AsyncIterator[tuple[bytearray, "asyncio.Task[None]"]]:
    """Push the jar and run the server; yield what it prints, and the task that reads it."""
    pushed = await adb.run("push", str(jar), REMOTE, serial=serial)
    assert not pushed.status, pushed
    given = {"scid": f"{SCID:08x}", "tunnel_forward": "true", "audio": "false"} | {
        "cleanup": "false",
        "clipboard_autosync": "false",
        **options,
    }
    words = " ".join(f"{key}={value}" for key, value in given.items())
    command = f"CLASSPATH={REMOTE} app_process / com.genymobile.scrcpy.Server {version} {words}"
    reader, writer = await opened(adb, serial, f"shell:{command}")
    output = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                output.extend(data)

    reading = asyncio.create_task(read())
    try:
        yield output, reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        writer.close()


@asynccontextmanager
async def watching(
    adb: AdbServer, serial: str, jar: Path, **options: Any
) -> AsyncIterator[ScreenClient]:
    """Run the server and connect as a client does: video, then control."""
    async with (
        started(adb, serial, jar, **options) as (output, ended),
        contextlib.AsyncExitStack() as stack,
    ):
        name = f"localabstract:scrcpy_{SCID:08x}"

        async def dialled() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
            assert not ended.done(), output.decode()
            with contextlib.suppress(RefusedError):
                return await opened(adb, serial, name)
            return None

        video, video_writer = await eventually(dialled, what="the server's socket")
        stack.callback(video_writer.close)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await video.readexactly(1) == b"\0"
            control = await opened(adb, serial, name)
            stack.callback(control[1].close)
            device = await video.readexactly(64)
            codec, width, height = struct.unpack(">4sII", await video.readexactly(12))
        yield ScreenClient(
            name=device.rstrip(b"\0").decode(),
            codec=codec,
            size=(width, height),
            video=video,
            control=control,
            output=output,
            ended=ended,
        )
