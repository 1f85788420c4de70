"""scrcpy-server 3.3.4 on a simulated phone: its sockets, and how long it lives.

Source: Genymobile/scrcpy at v3.3.4, server/.../Server.java and device/DesktopConnection.java.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from phonefarm_simulator.adb_stream import Stream, StreamClosedError
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screen_control import ScreenControl
from phonefarm_simulator.screen_server_options import ServerOptions
from phonefarm_simulator.screen_server_output import ServerOutput
from phonefarm_simulator.screen_video import ScreenVideo, VideoFailedError

NAME_BYTES = 64
AUDIO_DISABLED = bytes(4)
"""In place of a codec: the phone cannot capture sound, and the client goes on without it."""


class CannotListenError(Exception):
    """The server cannot open its sockets; the text is what its exception says."""


class ScreenServer:
    """One running server; it ends as soon as one of its sockets does."""

    def __init__(self, *, phone: Phone, options: ServerOptions, output: ServerOutput) -> None:
        self.ended = asyncio.Event()
        self._phone = phone
        self._options = options
        video = ScreenVideo(phone=phone, options=options, output=output)
        self._video = video
        self._control = ScreenControl(phone=phone, options=options, output=output, video=video)
        wanted = {"video": options.video, "audio": options.audio, "control": options.control}
        self._roles = [role for role, is_wanted in wanted.items() if is_wanted]
        self._open = 0
        self._complete = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the sockets and serve them within the block; CannotListenError."""
        streams: list[Stream] = []
        if not self._roles:
            self.ended.set()
        elif self._options.tunnel_forward:
            self._listen()
        else:
            streams = [await self._dial() for _ in self._roles]
        try:
            async with asyncio.TaskGroup() as group:
                for stream in streams:
                    group.create_task(self._serve_dialled(stream))
                try:
                    yield
                finally:
                    self.ended.set()
        finally:
            self._stop_listening()

    @property
    def _socket(self) -> str:
        return f"localabstract:{self._options.socket_name}"

    def _listen(self) -> None:
        if self._socket in self._phone.sockets:
            raise CannotListenError("java.io.IOException: Address already in use")
        self._phone.sockets[self._socket] = self._serve

    def _stop_listening(self) -> None:
        if self._phone.sockets.get(self._socket) == self._serve:
            del self._phone.sockets[self._socket]

    async def _dial(self) -> Stream:
        """Connect to the host behind `adb reverse`."""
        try:
            return await self._phone.reversed[self._socket]()
        except (KeyError, StreamClosedError):
            raise CannotListenError("java.io.IOException: Connection refused") from None

    async def _serve_dialled(self, stream: Stream) -> None:
        with contextlib.suppress(StreamClosedError):
            await _until(stream.closed(), self._serve(stream))
        await stream.finish()

    async def _serve(self, stream: Stream) -> None:
        """Serve the next socket to its end; it is video, audio or control by its turn."""
        role = self._roles[self._open]
        self._open += 1
        try:
            if self._open == 1 and self._options.tunnel_forward and self._options.send_dummy_byte:
                await stream.write(b"\0")
            if self._open == len(self._roles):
                self._stop_listening()
                self._complete.set()
            await _until(self.ended.wait(), self._work(role, stream))
        finally:
            self.ended.set()

    async def _work(self, role: str, stream: Stream) -> None:
        await self._complete.wait()
        if role == self._roles[0] and self._options.send_device_meta:
            name = self._phone.properties["ro.product.model"].encode()[: NAME_BYTES - 1]
            await stream.write(name.ljust(NAME_BYTES, b"\0"))
        match role:
            case "video":
                with contextlib.suppress(VideoFailedError):
                    await self._video.send(stream)
            case "audio":
                await stream.write(AUDIO_DISABLED)
                await self.ended.wait()
            case _:
                await self._control.obey(stream)


async def _until(end: Coroutine[Any, Any, Any], work: Coroutine[Any, Any, None]) -> None:
    """Do the work, but no longer than until the end; what the work raises is raised."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(end)
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
