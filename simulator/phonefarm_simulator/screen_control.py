"""Does on a phone what the control messages of scrcpy say.

Source: Genymobile/scrcpy at v3.3.4, server/.../control/Controller.java.
"""

import asyncio
import contextlib
import functools
import unicodedata
from collections.abc import Callable
from typing import assert_never

from phonefarm_simulator.adb_stream import BufferedReader, Stream, StreamClosedError
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.input_events import (
    INJECT_DENIED,
    Point,
    pinch,
    press_keys,
    swipe,
    turn_wheel,
    type_text,
)
from phonefarm_simulator.keys import HIGHEST_CODE, Key
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screen_server_messages import (
    BackOrScreenOn,
    DisplayPower,
    GetClipboard,
    Message,
    Panels,
    Position,
    PressKey,
    ResetVideo,
    Rotate,
    Scroll,
    SetClipboard,
    StartApp,
    Touch,
    TypeText,
    UnknownMessageError,
    WithoutEffect,
    clipboard_acknowledged,
    clipboard_message,
    read_message,
)
from phonefarm_simulator.screen_server_options import ServerOptions
from phonefarm_simulator.screen_server_output import ServerOutput
from phonefarm_simulator.screen_video import ScreenVideo

DOWN, UP, MOVE, CANCEL = 0, 1, 2, 3
MOST_FINGERS = 10
MESSAGES_AHEAD = 16
"""How many messages to a slow client wait; more are dropped (DeviceMessageSender.java)."""
_ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0308")
"""What the virtual keyboard has dead keys for: grave, acute, circumflex, tilde, diaeresis."""


class ScreenControl:
    """One client's hands."""

    def __init__(
        self, *, phone: Phone, options: ServerOptions, output: ServerOutput, video: ScreenVideo
    ) -> None:
        self._phone = phone
        self._options = options
        self._output = output
        self._video = video
        self._fingers: dict[int, tuple[Point, Point]] = {}
        self._lifted: list[tuple[Point, Point]] = []
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(MESSAGES_AHEAD)

    async def obey(self, stream: Stream) -> None:
        """Do what comes until the client leaves or sends what this version does not know."""
        if self._options.power_on and not self._phone.awake:
            await self._inject(lambda: press_keys(self._phone, [Key.POWER]))
        answering = asyncio.create_task(self._answer(stream))
        reader = BufferedReader(stream)
        try:
            with self._clipboard_sent():
                while True:
                    await self._perform(await read_message(reader))
        except UnknownMessageError as error:
            await self._output.error("Control protocol error", trace=str(error))
        except StreamClosedError:
            pass
        finally:
            answering.cancel()
            await asyncio.wait([answering])

    def _clipboard_sent(self) -> contextlib.AbstractContextManager[None]:
        if self._options.clipboard_autosync:
            return self._phone.clipboard.watched(self._send_clipboard)
        return contextlib.nullcontext()

    def _send_clipboard(self, text: str) -> None:
        self._tell(clipboard_message(text))

    def _tell(self, message: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._answers.put_nowait(message)

    async def _answer(self, stream: Stream) -> None:
        with contextlib.suppress(StreamClosedError):
            while True:
                await stream.write(await self._answers.get())

    async def _perform(self, message: Message) -> None:
        phone = self._phone
        match message:
            case PressKey():
                if message.action == DOWN and 0 <= message.code <= HIGHEST_CODE:
                    await self._inject(lambda: press_keys(phone, [message.code]))
            case TypeText():
                await self._type(message.text)
            case Touch():
                await self._touch(message)
            case Scroll():
                await self._scroll(message)
            case BackOrScreenOn():
                if message.action == DOWN:
                    key = Key.BACK if phone.awake else Key.POWER
                    await self._inject(lambda: press_keys(phone, [key]))
            case GetClipboard():
                # COPY and CUT find nothing: no view here has a selection.
                readable = Fault.CLIPBOARD_DENIED not in phone.faults
                if not self._options.clipboard_autosync and readable and phone.clipboard.text:
                    self._send_clipboard(phone.clipboard.text)
            case SetClipboard():
                await self._set_clipboard(message)
            case StartApp():
                await self._start_app(message.name)
            case DisplayPower():
                await self._output.info(f"Device display turned {'on' if message.on else 'off'}")
            case Rotate():
                phone.display.turn(1 - phone.display.rotation % 2)
            case Panels() if message.open:
                phone.display.open_shade()
            case Panels():
                phone.display.close_shade()
            case ResetVideo():
                self._video.reset()
            case WithoutEffect():
                pass
            case _:
                assert_never(message)

    async def _inject(self, act: Callable[[], None]) -> None:
        if Fault.INJECT_DENIED not in self._phone.faults:
            act()
            return
        await self._output.error(
            "Could not invoke method",
            trace="java.lang.reflect.InvocationTargetException\n"
            "\tat java.lang.reflect.Method.invoke(Native Method)\n"
            "\tat com.genymobile.scrcpy.wrappers.InputManager.injectInputEvent("
            f"InputManager.java:58)\nCaused by: java.lang.SecurityException: {INJECT_DENIED}",
        )

    async def _type(self, text: str) -> None:
        """Type what the virtual keyboard has keys for; a line's end is ENTER."""
        for place, line in enumerate(text.split("\n")):
            if place:
                await self._inject(lambda: press_keys(self._phone, [Key.ENTER]))
            for letter in line:
                if not _has_keys(letter):
                    await self._output.warn(f"Could not inject char u+{ord(letter):04x}")
            if typed := "".join(letter for letter in line if _has_keys(letter)):
                await self._inject(functools.partial(type_text, self._phone, typed))

    def _point(self, position: Position) -> Point | None:
        """Return the point on the display; None when it was meant for a video of another size."""
        size = self._video.size
        if size is None:
            return float(position.x), float(position.y)
        if position.size != size:
            return None
        width, height = self._phone.display.size
        return position.x * width / size[0], position.y * height / size[1]

    async def _touch(self, touch: Touch) -> None:
        point = self._point(touch.position)
        if point is None:
            return
        if touch.action == DOWN:
            if len(self._fingers) >= MOST_FINGERS:
                await self._output.warn("Too many pointers for touch event")
                return
            self._fingers[touch.pointer] = point, point
        elif touch.pointer not in self._fingers:
            return  # Android drops what does not begin with DOWN
        elif touch.action == MOVE:
            self._fingers[touch.pointer] = self._fingers[touch.pointer][0], point
        elif touch.action == CANCEL:
            del self._fingers[touch.pointer]
        elif touch.action == UP:
            self._lifted.append((self._fingers.pop(touch.pointer)[0], point))
        if not self._fingers and self._lifted:
            gesture, self._lifted = self._lifted, []
            await self._inject(lambda: self._draw(gesture))

    def _draw(self, gesture: list[tuple[Point, Point]]) -> None:
        if len(gesture) == 1:
            swipe(self._phone, *gesture[0])
        else:
            pinch(self._phone, *gesture)

    async def _scroll(self, message: Scroll) -> None:
        point = self._point(message.position)
        if point is not None:
            await self._inject(
                lambda: turn_wheel(self._phone, *point, across=message.across, down=message.down)
            )

    async def _set_clipboard(self, message: SetClipboard) -> None:
        clipboard = self._phone.clipboard
        allowed = Fault.CLIPBOARD_DENIED not in self._phone.faults
        if allowed and clipboard.text != message.text:
            clipboard.put(message.text, but_not=self._send_clipboard)
            await self._output.info("Device clipboard set")
        if message.paste:
            await self._inject(lambda: press_keys(self._phone, [Key.PASTE]))
        if message.sequence:
            self._tell(clipboard_acknowledged(message.sequence))

    async def _start_app(self, name: str) -> None:
        """Open an app by its package; the prefix + stops it first."""
        package = name.removeprefix("+")
        if self._phone.apps.find(package) is None or package not in self._phone.packages:
            await self._output.warn(f'No app found for name "{package}"')
            return
        if name.startswith("+"):
            self._phone.apps.stop("force-stop", package)
        self._phone.open_app(package)


def _has_keys(letter: str) -> bool:
    """Tell whether the virtual keyboard types it (KeyComposition.java: accents by dead keys)."""
    first, *accents = list(unicodedata.normalize("NFD", letter))
    return first.isascii() and first.isprintable() and len(accents) < 2 and {*accents} <= _ACCENTS
