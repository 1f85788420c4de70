"""Runs scrcpy-server on one phone: pushes the jar, starts the server, connects to it, ends it.

Source: Genymobile/scrcpy at v3.3.4, doc/develop.md and server/.../DesktopConnection.java. The
server ends when the shell that started it or its sockets are closed, so a dead agent leaves nothing
behind.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from phonefarm_agent.model.screen import Quality
from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.screen.server_jar import (
    JAR_SHA256,
    VERSION,
    ScreenServerJarError,
)
from phonefarm_agent.phones.screen.video_stream import BadVideoError, read_head

JAR: Final = f"/data/local/tmp/phonefarm-screen-{JAR_SHA256[:8]}.jar"
JAR_MODE: Final = 0o444
START_SECONDS: Final = 15.0
PUSH_SECONDS: Final = 60.0
CALL_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.1
OUTPUT_KEPT: Final = 4000
_SEND_BUFFER: Final = 512 * 1024
"""The send buffer in bytes; the largest control message fits, so none waits in this process."""
_OF_THE_ENCODER: Final = ("MediaCodec", "ncoder", "ncoding")

log = structlog.get_logger()


class ScreenServerError(Exception):
    """There is no video; has a word of StreamInfo.reason (screen.proto) and the server's output."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class ScreenServer:
    """The sockets of a running server; `output` returns what it printed last."""

    video: asyncio.StreamReader
    control: asyncio.StreamWriter
    device_messages: asyncio.StreamReader
    output: Callable[[], str]
    failure: Callable[[Exception], ScreenServerError]
    """Returns why the video ended, in the server's own words if there are any."""


def start_command(*, scid: int, quality: Quality, encoder: str) -> str:
    """Return the shell command of the server; *encoder* "" leaves the choice to the phone."""
    options = [
        f"scid={scid:08x}",
        "log_level=info",
        "tunnel_forward=true",
        "audio=false",
        "control=true",
        "power_on=false",
        "clipboard_autosync=false",
        "cleanup=false",
        f"max_size={quality.longer_side}",
        f"max_fps={quality.frames_per_second}",
        f"video_bit_rate={quality.bits_per_second}",
    ]
    if encoder:
        options.append(f"video_encoder={encoder}")
    words = f"CLASSPATH={JAR} exec app_process / com.genymobile.scrcpy.Server {VERSION}"
    return f"{words} {' '.join(options)}"


@asynccontextmanager
async def screen_server(
    *, adb: Adb, serial: str, quality: Quality, encoder: str, jar: Callable[[], Path]
) -> AsyncIterator[ScreenServer]:
    """Yield a server that is about to send video; the block's end ends it.

    Raises ScreenServerError, or AdbError when the phone is gone.
    """
    await _push_jar(adb, serial, jar)
    scid = random.getrandbits(31)
    printed = _Output()
    command = start_command(scid=scid, quality=quality, encoder=encoder)
    running = asyncio.create_task(printed.follow(adb, serial, command), name="screen-server")
    try:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(START_SECONDS):
                    name = f"localabstract:scrcpy_{scid:08x}"
                    video, _ = await _connect(adb, serial, name, stack, running)
                    device, control = await _connect(adb, serial, name, stack, running)
                    await read_head(video)
            except (TimeoutError, AdbError, BadVideoError, asyncio.IncompleteReadError) as error:
                # What it prints says more than how its sockets ended.
                await asyncio.wait({running}, timeout=CALL_SECONDS)
                raise printed.failure(error) from error
            wire = control.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            yield ScreenServer(
                video=video,
                control=control,
                device_messages=device,
                output=printed.read,
                failure=printed.failure,
            )
    finally:
        running.cancel()
        await asyncio.wait({running})


async def _connect(
    adb: Adb,
    serial: str,
    name: str,
    stack: AsyncExitStack,
    running: asyncio.Task[None],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the server once it listens; AdbError when it has ended."""
    while True:
        try:
            return await stack.enter_async_context(adb.connected_to(serial, name))
        except AdbError:
            if running.done():
                raise
        await asyncio.sleep(RETRY_SECONDS)


async def _push_jar(adb: Adb, serial: str, jar: Callable[[], Path]) -> None:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            answer = await adb.shell(serial, f"sha256sum {JAR}")
            if answer.out.split(" ")[0] == JAR_SHA256:
                return
            await adb.shell(serial, f"rm -f {JAR}")
        data = await asyncio.to_thread(lambda: jar().read_bytes())
        async with asyncio.timeout(PUSH_SECONDS):
            await adb.push(serial, data, JAR, mode=JAR_MODE)
    except ScreenServerJarError as error:
        raise ScreenServerError("screen_server_missing", str(error)) from error
    except TimeoutError as error:
        raise AdbError("the phone did not accept the jar in time") from error


class _Output:
    """The output of the server; scrcpy prints no text that is typed."""

    def __init__(self) -> None:
        self._text = ""

    def read(self) -> str:
        return self._text

    async def follow(self, adb: Adb, serial: str, command: str) -> None:
        try:
            async for chunk in adb.stream(serial, command, errors=True):
                self._text = (self._text + chunk.decode(errors="replace"))[-OUTPUT_KEPT:]
        except AdbError as error:
            self._text = f"{self._text}\n{error}"[-OUTPUT_KEPT:]

    def failure(self, error: Exception) -> ScreenServerError:
        """Return why there is no video, by the most telling line that was printed."""
        lines = [line.strip() for line in self._text.splitlines() if line.strip()]
        telling = [line for line in lines if "ERROR" in line or "Exception" in line]
        said = (telling or lines or [str(error) or "it did not answer in time"])[0][:300]
        of_encoder = any(word in line for line in telling for word in _OF_THE_ENCODER)
        reason = "encoder_failed" if of_encoder else "screen_server_failed"
        return ScreenServerError(reason, said)
