"""Which control messages of scrcpy may pass to a phone, and the messages that phones send.

Source: Genymobile/scrcpy at v3.3.4, server/.../control/ControlMessageReader.java and
DeviceMessageWriter.java. All numbers are big-endian.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from phonefarm_agent.model.screen import Clipboard, ClipboardSet

RESET_VIDEO: Final = b"\x11"
"""Makes the encoder start again, with a key frame."""
TEXT: Final = 1
SET_CLIPBOARD: Final = 9
MOST_TEXT: Final = 300
MOST_CLIPBOARD: Final = 262_130
_TEXT_HEAD, _CLIPBOARD_HEAD = 5, 14
_FIXED: Final[Mapping[int, tuple[str, int]]] = MappingProxyType(
    {
        0: ("key", 14),
        2: ("touch", 32),
        3: ("scroll", 21),
        4: ("back_or_screen_on", 2),
        8: ("get_clipboard", 2),
        11: ("rotate", 1),
        17: ("reset_video", 1),
    }
)
NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {TEXT: "text", SET_CLIPBOARD: "set_clipboard"}
    | {number: name for number, (name, _) in _FIXED.items()}
)


class ControlNotAllowedError(Exception):
    """The bytes are not one whole message of an allowed type; the text says what is wrong."""


def check_control(data: bytes) -> str:
    """Return the name of the one whole message in *data*; ControlNotAllowedError.

    Not allowed are the panels, the display's power, UHID, settings and starting apps: they are not
    needed to drive a phone by hand, or reach beyond the screen.
    """
    if not data:
        raise ControlNotAllowedError("a control message has at least its type")
    kind = data[0]
    match kind:
        case 1:
            expected = _counted(data, _TEXT_HEAD, MOST_TEXT)
        case 9:
            expected = _counted(data, _CLIPBOARD_HEAD, MOST_CLIPBOARD)
        case _ if kind in _FIXED:
            expected = _FIXED[kind][1]
        case _:
            allowed = ", ".join(str(number) for number in sorted(NAMES))
            raise ControlNotAllowedError(f"control type {kind} is not one of {allowed}")
    if len(data) != expected:
        raise ControlNotAllowedError(
            f"a control message of type {kind} has {expected} bytes here, not {len(data)}"
        )
    return NAMES[kind]


def _counted(data: bytes, head: int, most: int) -> int:
    """Return how long a message is whose head ends with the length of its text."""
    if len(data) < head:
        raise ControlNotAllowedError(f"a control message of type {data[0]} is cut off")
    length = int.from_bytes(data[head - 4 : head], "big")
    if length > most:
        raise ControlNotAllowedError(
            f"the text in a control message of type {data[0]} has {length} bytes, but may have at "
            f"most {most}"
        )
    return head + length


async def read_device_message(reader: asyncio.StreamReader) -> Clipboard | ClipboardSet | None:
    """Return the phone's next message, None for one that nobody waits for.

    asyncio.IncompleteReadError at the end; ValueError for bytes of another protocol.
    """
    kind = (await reader.readexactly(1))[0]
    match kind:
        case 0:
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > MOST_CLIPBOARD:
                raise ValueError(f"the clipboard has {length} bytes, which is too many")
            return Clipboard(text=(await reader.readexactly(length)).decode(errors="replace"))
        case 1:
            return ClipboardSet(sequence=int.from_bytes(await reader.readexactly(8), "big"))
        case 2:
            head = await reader.readexactly(4)  # the device's id and the length
            await reader.readexactly(int.from_bytes(head[2:], "big"))
            return None
        case _:
            raise ValueError(f"a device message has the unknown type {kind}")
