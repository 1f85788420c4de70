"""The video that scrcpy-server sends: a picture when the screen changes, repeated while it rests.

Source: Genymobile/scrcpy at v3.3.4, server/.../video/SurfaceEncoder.java and device/Streamer.java.
"""

import asyncio
import struct

from phonefarm_simulator.adb_stream import Stream
from phonefarm_simulator.capture import captured
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screen_encoder import Encoder, fitting
from phonefarm_simulator.screen_server_options import ServerOptions
from phonefarm_simulator.screen_server_output import ServerOutput
from phonefarm_simulator.views import View

PICTURES_PER_SECOND = 30.0
"""This display can change so many times a second."""
REPEAT_SECONDS = 0.1
REPEATS = 10
"""Android repeats the last picture this often, then sends nothing until the screen changes."""
SOFTWARE_ENCODER = "c2.android.avc.encoder"
HARDWARE_ENCODER = "c2.sim.avc.encoder"
_SMALLER = (2560, 1920, 1600, 1280, 1024, 800)
_CODEC_FAILED = "android.media.MediaCodec$CodecException: Error 0xfffffff4"
_CONFIGURATION = 1 << 63
_KEY_FRAME = 1 << 62
_TRIES = 3


class VideoFailedError(Exception):
    """The video cannot be sent; the server has printed why, and ends."""


class ScreenVideo:
    """Sends the screen to one client; `size` is that of the video now, None before the first."""

    def __init__(self, *, phone: Phone, options: ServerOptions, output: ServerOutput) -> None:
        self.size: tuple[int, int] | None = None
        self._phone = phone
        self._options = options
        self._output = output
        self._largest = options.max_size
        self._reset = asyncio.Event()
        self._first_sent: float | None = None

    def reset(self) -> None:
        """Begin again with a configuration and a key frame."""
        self._reset.set()

    async def send(self, stream: Stream) -> None:
        """Send until the client is gone (StreamClosedError) or it fails (VideoFailedError)."""
        await self._check_encoder()
        headed = False
        while True:
            self._reset.clear()
            display = self._phone.display.size
            self.size = size = fitting(display, self._largest)
            if not headed and self._options.send_codec_meta:
                await stream.write(struct.pack(">4sII", b"h264", *size))
            headed = True
            if Fault.API_GONE in self._phone.faults:
                await self._fail_without_display()
            if self._too_large(size):
                await self._downsize(size)
                continue
            encoder = await asyncio.to_thread(Encoder, size, bit_rate=self._options.video_bit_rate)
            await self._write(stream, encoder.configuration, _CONFIGURATION)
            await self._send_pictures(stream, encoder, display)

    async def _send_pictures(
        self, stream: Stream, encoder: Encoder, display: tuple[int, int]
    ) -> None:
        """Send pictures until a reset is wanted or the screen is turned."""
        clock = asyncio.get_running_loop()
        interval = 1 / min(self._options.max_fps or PICTURES_PER_SECOND, PICTURES_PER_SECOND)
        shown: View | None = None
        sent = -1.0
        repeats = 0
        due = clock.time()
        while not self._reset.is_set() and self._phone.display.size == display:
            now = clock.time()
            await self._crash_in_time(now)
            screen = captured(self._phone)
            changed = sent < 0 or screen != shown
            if changed or (repeats < REPEATS and now - sent >= REPEAT_SECONDS):
                stamp = int(self._phone.uptime * 1_000_000)
                packet = await asyncio.to_thread(encoder.encode, screen, stamp)
                flag = _KEY_FRAME if packet.key_frame else 0
                await self._write(stream, packet.data, flag | packet.microseconds)
                repeats = 0 if changed else repeats + 1
                shown, sent = screen, now
                self._first_sent = now if self._first_sent is None else self._first_sent
            # A late picture delays those after it only when it is more than one interval late.
            due = max(due + interval, clock.time() - interval)
            await self._wait_until(due)

    async def _wait_until(self, due: float) -> None:
        """Wait for the display's next turn, or for a reset."""
        try:
            async with asyncio.timeout_at(due):
                await self._reset.wait()
        except TimeoutError:
            pass

    async def _write(self, stream: Stream, data: bytes, head: int) -> None:
        meta = struct.pack(">QI", head, len(data)) if self._options.send_frame_meta else b""
        await stream.write(meta + data)

    async def _check_encoder(self) -> None:
        options = self._options
        if options.video_source == "camera":
            await self._output.error("No matching camera found")
            raise VideoFailedError
        if options.video_codec != "h264":
            await self._output.error(
                f"Could not create default video encoder for {options.video_codec}\n{ENCODERS}"
            )
            raise VideoFailedError
        if options.video_encoder not in {"", HARDWARE_ENCODER, SOFTWARE_ENCODER}:
            await self._output.error(
                f"Video encoder '{options.video_encoder}' for h264 not found\n{ENCODERS}"
            )
            raise VideoFailedError

    def _too_large(self, size: tuple[int, int]) -> bool:
        fault = self._phone.faults.get(Fault.ENCODER_FAILS_ABOVE)
        by_hardware = self._options.video_encoder != SOFTWARE_ENCODER
        return fault is not None and by_hardware and max(size) > fault.pixels

    async def _downsize(self, size: tuple[int, int]) -> None:
        """Try a smaller size, as the server does before its first picture."""
        await self._output.error(f"Capture/encoding error: {_CODEC_FAILED}")
        smaller = next((each for each in _SMALLER if each < max(size)), 0)
        if self._first_sent is not None or not self._options.downsize_on_error or not smaller:
            await self._fail(_CODEC_FAILED)
        await self._output.info(f"Retrying with -m{smaller}...")
        self._largest = smaller

    async def _fail_without_display(self) -> None:
        missing = (
            "java.lang.NoSuchMethodException: android.view.SurfaceControl.createDisplay "
            "[class java.lang.String, boolean]"
        )
        await self._output.error(
            "Could not create display using DisplayManager",
            trace="java.lang.NoSuchMethodException: android.hardware.display.DisplayManager."
            "createVirtualDisplay",
        )
        await self._output.error("Could not create display using SurfaceControl", trace=missing)
        await self._fail("java.lang.AssertionError: Could not create display")

    async def _crash_in_time(self, now: float) -> None:
        fault = self._phone.faults.get(Fault.SERVER_CRASHES)
        if fault is None or self._first_sent is None or now - self._first_sent < fault.seconds:
            return
        for _ in range(_TRIES):
            await self._output.error(
                "Capture/encoding error: java.lang.IllegalStateException: null"
            )
        await self._fail("java.lang.IllegalStateException")

    async def _fail(self, exception: str) -> None:
        await self._output.error(
            "Exception on thread Thread[video,5,main]",
            trace=f"{exception}\n\tat com.genymobile.scrcpy.video.SurfaceEncoder.streamCapture("
            "SurfaceEncoder.java:113)\n\tat java.lang.Thread.run(Thread.java:1012)",
        )
        raise VideoFailedError


ENCODERS = (
    "List of video encoders:\n"
    f"    --video-codec=h264 --video-encoder={HARDWARE_ENCODER}      (hw)\n"
    f"    --video-codec=h264 --video-encoder={SOFTWARE_ENCODER}  (sw)"
)
"""What the server prints for `list_encoders=true`, and when it does not find one."""
