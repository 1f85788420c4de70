"""The one stream of a phone's screen for all viewers: video, another encoder, or stills."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from phonefarm_common.clock import Clock

from phonefarm_agent.model.phone import PhoneNotFitError
from phonefarm_agent.model.screen import (
    Clipboard,
    ClipboardSet,
    Frame,
    Quality,
    StreamInfo,
    ViewMode,
)
from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.screen.control_messages import (
    RESET_VIDEO,
    SET_CLIPBOARD,
    read_device_message,
)
from phonefarm_agent.phones.screen.h264 import BadSpsError, video_format
from phonefarm_agent.phones.screen.pictures import (
    JPEG_QUALITY,
    STILL_SIDE,
    NoPictureError,
    as_jpeg,
    screencap,
)
from phonefarm_agent.phones.screen.screen_server import (
    ScreenServer,
    ScreenServerError,
    screen_server,
)
from phonefarm_agent.phones.screen.video_stream import BadVideoError, read_packet
from phonefarm_agent.phones.screen.viewer import Viewer

RESET_SECONDS: Final = 1.0
STILL_SECONDS: Final = 1.0
WORKED_SECONDS: Final = 10.0
"""A method that has shown the screen for this long is tried again when it fails."""
MOST_FAILURES: Final = 3
"""The stream ends after this many failed stills in a row."""
ENCODERS: Final = ("", "c2.android.avc.encoder")
"""The encoder that the phone chooses, then Android's software encoder."""
REMEMBERED_SECONDS: Final = 600.0
SERVER_MISSING: Final = "screen_server_missing"
STILLS_STEP: Final = len(ENCODERS)
MOST_UNANSWERED: Final = 32
_NO_INPUT: Final = "INJECT_EVENTS"
_GET_CLIPBOARD: Final = 8

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ScreenDevice:
    """A phone with a screen: its adb, its adb serial, and its model."""

    adb: Adb
    adb_serial: str
    model: str


class WorkingSteps:
    """Which method worked for a model of phones, and why the earlier ones did not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worked: dict[str, tuple[int, str, float]] = {}

    def recall(self, model: str) -> tuple[int, str]:
        """Return where to begin: a step, and why not before it."""
        step, reason, until = self._worked.get(model, (0, "", 0.0))
        return (step, reason) if self._clock.monotonic() < until else (0, "")

    def worked(self, model: str, step: int, reason: str) -> None:
        """Remember for a while; what the host lacks is not the model's."""
        if not reason.startswith(SERVER_MISSING):
            until = self._clock.monotonic() + REMEMBERED_SECONDS
            self._worked[model] = (step, reason, until)


class ScreenSession:
    """Sends one phone's screen to its viewers, while `run` lasts."""

    def __init__(
        self,
        *,
        serialno: str,
        mode: ViewMode,
        quality: Quality,
        find: Callable[[str], ScreenDevice],
        jar: Callable[[], Path],
        memory: WorkingSteps,
        clock: Clock,
    ) -> None:
        """Show the phone that *find* returns (PhoneNotFitError)."""
        self.serialno = serialno
        self.mode = mode
        self.viewers: set[Viewer] = set()
        self._quality = quality
        self._find = find
        self._jar = jar
        self._memory = memory
        self._clock = clock
        self._info: StreamInfo | None = None
        self._still: Frame | None = None
        self._server: ScreenServer | None = None
        self._reset_at = -RESET_SECONDS
        self._reset_timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._step = 0
        self._model = ""
        self._stuck = asyncio.Event()
        self._clipboard_asker: Viewer | None = None
        self._clipboard_setters: dict[int, Viewer] = {}

    def join(self, viewer: Viewer) -> None:
        """Show the stream to one more."""
        self.viewers.add(viewer)
        if self._info is not None:
            viewer.tell(self._info)
        if self._still is not None:
            viewer.show(self._still)
        self.want_key_frame()

    def leave(self, viewer: Viewer) -> None:
        """Show it to one less."""
        self.viewers.discard(viewer)

    async def run(self) -> None:
        """Send pictures until cancelled, or until there are none. Then tell the viewers why."""
        reason, message = "failed", "the agent's log contains the cause"
        try:
            reason, message = await self._try_steps()
        except asyncio.CancelledError:
            reason, message = "nobody_watches", ""
            raise
        except Exception:  # one phone's screen must not end the agent
            log.exception("screen.failed", serialno=self.serialno)
        finally:
            if self._reset_timer is not None:
                self._reset_timer.cancel()
            log.info("screen.ended", serialno=self.serialno, reason=reason, message=message)
            for viewer in self.viewers:
                viewer.end(reason, message)

    async def _try_steps(self) -> tuple[str, str]:
        """Try each way to show the screen; return why the last one ended."""
        known = False
        while True:
            try:
                device = self._find(self.serialno)
            except PhoneNotFitError as error:
                return "phone_away", f"the agent cannot use the phone: {error}"
            if not known and self.mode is ViewMode.VIDEO:
                self._step, self._reason = self._memory.recall(device.model)
            known, self._model = True, device.model
            if self.mode is ViewMode.STILLS or self._step >= STILLS_STEP:
                return await self._send_stills(device)
            began = self._clock.monotonic()
            failure = await self._try_video(device)
            log.warning(
                "screen.step_failed", serialno=self.serialno, step=self._step, error=failure
            )
            if not await self._answers(device):
                return "phone_away", "the phone does not answer any more"
            if self._stuck.is_set() or self._clock.monotonic() - began >= WORKED_SECONDS:
                continue
            self._reason = failure
            missing = failure.startswith(SERVER_MISSING)
            self._step = STILLS_STEP if missing else self._step + 1

    async def _try_video(self, device: ScreenDevice) -> str:
        """Send video with the encoder of this step until it ends; return why it did."""
        self._stuck.clear()
        try:
            async with screen_server(
                adb=device.adb,
                serial=device.adb_serial,
                quality=self._quality,
                encoder=ENCODERS[self._step],
                jar=self._jar,
            ) as server:
                self._server = server
                log.info("screen.video_began", serialno=self.serialno, step=self._step)
                return await self._send_video(server)
        except ScreenServerError as error:
            return str(error)
        except (AdbError, OSError) as error:
            return f"screen_server_failed: {error}"
        finally:
            self._server = None

    async def _answers(self, device: ScreenDevice) -> bool:
        try:
            async with asyncio.timeout(5):
                return (await device.adb.shell(device.adb_serial, "echo here")).code == 0
        except (AdbError, TimeoutError):
            return False

    async def _send_video(self, server: ScreenServer) -> str:
        """Send video until it ends or the phone takes no input; return why."""
        reading = asyncio.create_task(self._read_video(server))
        stuck = asyncio.create_task(self._stuck.wait())
        messages = asyncio.create_task(self._read_messages(server))
        try:
            await asyncio.wait({reading, stuck}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return "screen_server_failed: the phone did not accept the input"
            reading.result()
        except (BadVideoError, BadSpsError) as error:
            return f"encoder_failed: {error}"
        except (AdbError, OSError, asyncio.IncompleteReadError) as error:
            return str(server.failure(error))
        finally:
            for task in (reading, stuck, messages):
                task.cancel()
            await asyncio.gather(reading, stuck, messages, return_exceptions=True)
        raise AssertionError("video ended without an error")

    async def _read_video(self, server: ScreenServer) -> None:
        config = b""
        while True:
            packet = await read_packet(server.video)
            if packet.is_config:
                config = packet.data
                self._announce(server, config)
                continue
            frame = Frame(
                data=config + packet.data if packet.is_key else packet.data,
                key=packet.is_key,
                timestamp_us=packet.timestamp_us,
            )
            wanting = [viewer.show(frame) for viewer in self.viewers]
            if any(wanting):
                self.want_key_frame()

    def _announce(self, server: ScreenServer, config: bytes) -> None:
        """Say what the frames after this configuration are, if that is new."""
        found = video_format(config)
        warning = ""
        if _NO_INPUT in server.output():
            warning = (
                "inject_denied: the phone does not allow input through adb: turn on "
                '"USB debugging (Security settings)" in its developer options, and reboot the phone'
            )
        info = StreamInfo(
            mode=ViewMode.VIDEO,
            codec=found.codec,
            width=found.width,
            height=found.height,
            reason=self._reason,
            warning=warning,
        )
        if info != self._info:
            self._memory.worked(self._model, self._step, self._reason)
            self._change(info)

    def _change(self, info: StreamInfo) -> None:
        """Tell viewers what the next frames are; those that wait are of the old kind."""
        self._info = info
        for viewer in self.viewers:
            viewer.begin_again()
            viewer.tell(info)

    async def _read_messages(self, server: ScreenServer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ValueError):
            while True:
                match await read_device_message(server.device_messages):
                    case Clipboard() as clipboard:
                        asker, self._clipboard_asker = self._clipboard_asker, None
                        if asker is not None and asker.input.is_open:
                            asker.tell(clipboard)
                    case ClipboardSet(sequence=sequence) as done:
                        setter = self._clipboard_setters.pop(sequence, None)
                        if setter is not None:
                            setter.tell(done)
                    case None:
                        pass

    async def _send_stills(self, device: ScreenDevice) -> tuple[str, str]:
        """Send a JPEG whenever the screen has changed; return why that ended."""
        log.info("screen.stills_began", serialno=self.serialno, reason=self._reason)
        failures, shown = 0, b""
        while True:
            began = self._clock.monotonic()
            try:
                taken = await screencap(device.adb, device.adb_serial)
                digest = hashlib.sha256(taken).digest()
                if digest != shown:
                    shown = digest
                    picture = await as_jpeg(taken, longer_side=STILL_SIDE, quality=JPEG_QUALITY)
                    self._show_still(picture.data, picture.width, picture.height)
                failures = 0
            except (NoPictureError, AdbError) as error:
                failures += 1
                if failures >= MOST_FAILURES:
                    if not await self._answers(device):
                        return "phone_away", "the phone does not answer any more"
                    return "failed", str(error)
            took = self._clock.monotonic() - began
            await asyncio.sleep(max(STILL_SECONDS - took, took))  # at most half of the phone's time

    def _show_still(self, data: bytes, width: int, height: int) -> None:
        info = StreamInfo(
            mode=ViewMode.STILLS, codec="jpeg", width=width, height=height, reason=self._reason
        )
        stamp = int(self._clock.monotonic() * 1_000_000)
        self._still = Frame(data=data, key=True, timestamp_us=stamp)
        if info != self._info:
            if self.mode is ViewMode.VIDEO:
                self._memory.worked(self._model, STILLS_STEP, self._reason)
            self._change(info)
        for viewer in self.viewers:
            viewer.show(self._still)

    # What viewers ask for.

    def write_control(self, data: bytes, viewer: Viewer) -> str:
        """Write an allowed message to the phone, now; return why not, a word and a sentence.

        Nothing may wait in this process: a message that the phone does not take at once would reach
        it later, maybe after the hold. Then the stream begins again.
        """
        server = self._server
        if server is None:
            return "no_input: input needs video, but the stream shows stills or has not started yet"
        if _NO_INPUT in server.output():
            return "inject_denied: the phone does not allow input through adb"
        if data[0] == _GET_CLIPBOARD:
            self._clipboard_asker = viewer
        elif data[0] == SET_CLIPBOARD:
            self._clipboard_setters[int.from_bytes(data[1:9], "big")] = viewer
            while len(self._clipboard_setters) > MOST_UNANSWERED:
                del self._clipboard_setters[next(iter(self._clipboard_setters))]
        return self._write(server, data)

    def _write(self, server: ScreenServer, data: bytes) -> str:
        if server.control.transport.is_closing():
            return "no_input: the stream is restarting"
        server.control.write(data)
        if server.control.transport.get_write_buffer_size():
            log.warning("screen.input_stuck", serialno=self.serialno)
            server.control.transport.abort()
            self._stuck.set()
            return "no_input: the phone did not accept the input in time; the stream is restarting"
        return ""

    def want_key_frame(self) -> None:
        """Ask the phone for a key frame, at most once a second."""
        if self._reset_timer is not None or self._server is None:
            return
        left = RESET_SECONDS - (self._clock.monotonic() - self._reset_at)
        if left <= 0:
            self._reset_video()
        else:
            self._reset_timer = asyncio.get_running_loop().call_later(left, self._reset_video)

    def _reset_video(self) -> None:
        self._reset_timer = None
        self._reset_at = self._clock.monotonic()
        if self._server is not None:
            self._write(self._server, RESET_VIDEO)
