"""Commands that touch the screen and take its picture: input, screencap."""

import asyncio
import math

from phonefarm_simulator.capture import captured
from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.commands.dumpsys_command import FOLDED_DISPLAY, MAIN_DISPLAY
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.input_events import (
    INJECT_DENIED,
    press_keys,
    swipe,
    tap,
    type_text,
)
from phonefarm_simulator.keys import key_code
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.screenshot import black_png, png_of

SWIPE_MILLISECONDS = 300.0
LONGEST_SWIPE_MILLISECONDS = 60_000.0
DISPLAY_WARNING = (
    b"[Warning] Multiple displays were found, but no display id was specified! "
    b"Defaulting to the first display found, however this default is not guaranteed to be "
    b"consistent across captures. A display id should be specified.\n"
    b"A display ID can be specified with the [-d display-id] option.\n"
    b'See "dumpsys SurfaceFlinger --display-id" for valid display IDs.\n'
)
"""What Android 13 and later print on phones with two displays (AOSP screencap.cpp)."""
_SOURCES = ("touchscreen", "keyboard", "mouse", "touchpad", "trackball", "dpad")


async def input_command(call: Call) -> int:
    """Tap, swipe, type and press keys, as /system/bin/input does."""
    words = list(call.arguments)
    if words[:1] and words[0] in _SOURCES:
        words.pop(0)
    if words and Fault.INJECT_DENIED in call.phone.faults:
        return await _java_error(call, words[0], f"java.lang.SecurityException: {INJECT_DENIED}")
    match words:
        case ["tap", x, y]:
            return await _tap(call, x, y)
        case ["swipe" | "draganddrop", x1, y1, x2, y2, *rest] if len(rest) < 2:
            return await _swipe(call, [x1, y1, x2, y2, *rest])
        case ["text", text, *_]:
            return await _text(call, text)
        case ["keyevent", *keys] if keys:
            return await _keys(call, keys)
        case _:
            return await call.complain(
                "Usage: input [<source>] tap|swipe|draganddrop|text|keyevent [<arg>...]", status=255
            )


async def _tap(call: Call, x: str, y: str) -> int:
    try:
        point = float(x), float(y)
    except ValueError as error:
        return await _java_error(call, "tap", f"java.lang.NumberFormatException: {error}")
    if not all(map(math.isfinite, point)):
        return await call.complain("Error: no such point", status=255)
    tap(call.phone, *point)
    return 0


async def _swipe(call: Call, words: list[str]) -> int:
    try:
        x1, y1, x2, y2, *rest = (float(word) for word in words)
    except ValueError as error:
        return await _java_error(call, "swipe", f"java.lang.NumberFormatException: {error}")
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return await call.complain("Error: no such point", status=255)
    milliseconds = rest[0] if rest else SWIPE_MILLISECONDS
    if not 0 <= milliseconds <= LONGEST_SWIPE_MILLISECONDS:
        return await call.complain("Error: duration out of range", status=255)
    await asyncio.sleep(milliseconds / 1000)
    swipe(call.phone, (x1, y1), (x2, y2))
    return 0


async def _text(call: Call, text: str) -> int:
    """Type ASCII; a real phone has no key for anything else and dies with this exception."""
    if not text.isascii():
        call.phone.record(Kind.TYPING_REFUSED, text=text)
        return await _java_error(
            call,
            "text",
            "java.lang.NullPointerException: Attempt to get length of null array",
        )
    type_text(call.phone, text.replace("%s", " "))
    return 0


async def _keys(call: Call, words: list[str]) -> int:
    names = [word for word in words if not word.startswith("--")]
    codes = [key_code(name) for name in names]
    for name, code in zip(names, codes, strict=True):
        if code is None:
            return await _java_error(
                call, "keyevent", f"java.lang.IllegalArgumentException: Unknown keycode: {name}"
            )
    press_keys(call.phone, [code for code in codes if code is not None])
    return 0


async def _java_error(call: Call, what: str, error: str) -> int:
    return await call.complain(
        f"\nException occurred while executing '{what}':\n{error}\n"
        "\tat com.android.server.input.InputShellCommand.onCommand(InputShellCommand.java:318)",
        status=255,
    )


async def screencap(call: Call) -> int:
    """Write the screen as a PNG to a file, or to the output; -d picks a display."""
    words = list(call.arguments)
    faults = call.phone.faults
    if Fault.SCREENCAP_FAILS in faults:
        return 1
    shown = None
    if "-d" in words[:-1]:
        at = words.index("-d")
        shown = words[at + 1]
        del words[at : at + 2]
        if shown != MAIN_DISPLAY and not (
            shown == FOLDED_DISPLAY and Fault.SECOND_DISPLAY in faults
        ):
            return await call.complain(f"Display Id '{shown}' is not valid.", status=1)
    as_png = "-p" in words
    paths = [word for word in words if not word.startswith("-")]
    if not as_png and not (paths and paths[0].endswith(".png")):
        return await call.complain("screencap: only PNG is known here, use -p")
    folded = Fault.SECOND_DISPLAY in faults and shown != MAIN_DISPLAY
    screen = None if folded else captured(call.phone)
    picture = black_png() if screen is None else await asyncio.to_thread(png_of, screen)
    warning = faults.get(Fault.SCREENCAP_WARNS)
    if warning is not None and shown is None:
        write = call.write_out if warning.on_stdout else call.write_error
        await write(DISPLAY_WARNING)
    if not paths:
        await call.write_out(picture)
        return 0
    try:
        call.phone.write_file(paths[0], picture)
    except OSError as error:
        return await call.complain(f"Error opening file: {paths[0]} ({error.strerror})")
    return 0


COMMANDS: Table = {"input": input_command, "screencap": screencap}
