"""The control messages of scrcpy-server 3.3.4, to the phone and from it; all numbers big-endian.

Source: Genymobile/scrcpy at v3.3.4, server/.../control/ControlMessageReader.java and
DeviceMessageWriter.java. Lengths are checked as they are read, before anything is kept.
"""

import struct
from dataclasses import dataclass

from phonefarm_simulator.adb_stream import BufferedReader

LARGEST_TEXT_BYTES = 1 << 18
"""No message of a client is longer; the server itself would try to read more."""


class UnknownMessageError(Exception):
    """The type is none that this version has: the server gives the connection up."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """A point of the video, and the size of the video it was meant for."""

    x: int
    y: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PressKey:
    """A key goes down (0) or up (1)."""

    action: int
    code: int


@dataclass(frozen=True, kw_only=True)
class TypeText:
    """Letters, as the keys that type them."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Touch:
    """A finger goes down (0), up (1) or moves (2); a mouse hovers (7)."""

    action: int
    pointer: int
    position: Position


@dataclass(frozen=True, kw_only=True)
class Scroll:
    """A mouse's wheel, in its notches."""

    position: Position
    across: float
    down: float


@dataclass(frozen=True, kw_only=True)
class BackOrScreenOn:
    """BACK, or light the display when it is dark; on down (0)."""

    action: int


@dataclass(frozen=True, kw_only=True)
class GetClipboard:
    """Send the clipboard; copy (1) or cut (2) first."""

    copy_key: int


@dataclass(frozen=True, kw_only=True)
class SetClipboard:
    """Put a text on the clipboard, maybe paste it, and acknowledge a sequence other than 0."""

    sequence: int
    paste: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class StartApp:
    """Open an app by its package; `+` stops it first, `?` searches by name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class DisplayPower:
    """Darken the panel while the phone goes on, or light it."""

    on: bool


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Open the notifications (5) or the quick settings (6), or close them (7)."""

    open: bool


@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Turn the screen by a quarter."""


@dataclass(frozen=True, kw_only=True)
class ResetVideo:
    """Begin the video again, with a configuration and a key frame."""


@dataclass(frozen=True, kw_only=True)
class WithoutEffect:
    """What this phone has nothing for: HID devices (12 to 14), a keyboard's settings (15)."""

    kind: int


Message = (
    PressKey
    | TypeText
    | Touch
    | Scroll
    | BackOrScreenOn
    | GetClipboard
    | SetClipboard
    | StartApp
    | DisplayPower
    | Panels
    | Rotate
    | ResetVideo
    | WithoutEffect
)


async def read_message(reader: BufferedReader) -> Message:
    """Return the next message; UnknownMessageError, or StreamClosedError at the end."""
    (kind,) = await reader.exactly(1)
    match kind:
        case 0:
            action, code, _repeat, _meta = struct.unpack(">Biii", await reader.exactly(13))
            return PressKey(action=action, code=code)
        case 1:
            return TypeText(text=await _text(reader, ">I"))
        case 2:
            action, pointer = struct.unpack(">Bq", await reader.exactly(9))
            position = await _position(reader)
            await reader.exactly(10)  # pressure, button that changed, buttons that are down
            return Touch(action=action, pointer=pointer, position=position)
        case 3:
            position = await _position(reader)
            across, down, _buttons = struct.unpack(">hhi", await reader.exactly(8))
            # A fixed-point number for -1 to 1 stands for -16 to 16.
            return Scroll(position=position, across=across / 2048, down=down / 2048)
        case 4:
            return BackOrScreenOn(action=(await reader.exactly(1))[0])
        case 5 | 6 | 7:
            return Panels(open=kind < 7)
        case 8:
            return GetClipboard(copy_key=(await reader.exactly(1))[0])
        case 9:
            sequence, paste = struct.unpack(">Q?", await reader.exactly(9))
            return SetClipboard(sequence=sequence, paste=paste, text=await _text(reader, ">I"))
        case 10:
            return DisplayPower(on=(await reader.exactly(1)) != b"\0")
        case 11:
            return Rotate()
        case 16:
            return StartApp(name=await _text(reader, ">B"))
        case 17:
            return ResetVideo()
        case _:
            await _skip(reader, kind)
            return WithoutEffect(kind=kind)


async def _skip(reader: BufferedReader, kind: int) -> None:
    match kind:
        case 15:
            pass
        case 12:
            await reader.exactly(6)
            await _block(reader, ">B")
            await _block(reader, ">H")
        case 13:
            await reader.exactly(2)
            await _block(reader, ">H")
        case 14:
            await reader.exactly(2)
        case _:
            raise UnknownMessageError(f"Unknown event type: {kind}")


async def _position(reader: BufferedReader) -> Position:
    x, y, width, height = struct.unpack(">iiHH", await reader.exactly(12))
    return Position(x=x, y=y, size=(width, height))


async def _text(reader: BufferedReader, length: str) -> str:
    return (await _block(reader, length)).decode(errors="replace")


async def _block(reader: BufferedReader, length: str) -> bytes:
    (size,) = struct.unpack(length, await reader.exactly(struct.calcsize(length)))
    if size > LARGEST_TEXT_BYTES:
        raise UnknownMessageError(f"a text of {size} bytes")
    return await reader.exactly(size)


def clipboard_message(text: str) -> bytes:
    """Return the phone's message that tells what the clipboard holds."""
    data = text.encode(errors="surrogatepass")
    return struct.pack(">BI", 0, len(data)) + data


def clipboard_acknowledged(sequence: int) -> bytes:
    """Return the phone's message that the clipboard of that sequence is set."""
    return struct.pack(">BQ", 1, sequence)
