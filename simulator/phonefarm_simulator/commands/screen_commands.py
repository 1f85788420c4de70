"""Commands for the screen: input, uiautomator, screencap."""

import asyncio
import math

from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.input_events import press_keys, swipe, tap, type_text
from phonefarm_simulator.keys import key_code
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.screenshot import black_png, png_of
from phonefarm_simulator.ui_dump import dump

SWIPE_MILLISECONDS = 300.0
LONGEST_SWIPE_MILLISECONDS = 60_000.0
DUMP_PATH = "/sdcard/window_dump.xml"
_SOURCES = ("touchscreen", "keyboard", "mouse", "touchpad", "trackball", "dpad")


async def input_command(call: Call) -> int:
    """Tap, swipe, type and press keys, as /system/bin/input does."""
    words = list(call.arguments)
    if words[:1] and words[0] in _SOURCES:
        words.pop(0)
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


async def uiautomator(call: Call) -> int:
    """Dump the window's views to a file, or to the output for /dev/tty."""
    words = [word for word in call.arguments if word != "--compressed"]
    if words[:1] != ["dump"]:
        return await call.complain("Usage: uiautomator dump [--compressed] [file]")
    path = words[1] if len(words) > 1 else DUMP_PATH
    if not call.phone.awake:
        await call.say("ERROR: null root node returned by UiTestAutomationBridge.")
        return 1
    text = dump(call.phone.screen())
    if path == "/dev/tty":
        await call.write_out(text.encode())
    else:
        try:
            call.phone.write_file(path, text.encode())
        except OSError as error:
            return await call.complain(f"ERROR: could not write {path}: {error.strerror}")
    await call.say(f"UI hierchary dumped to: {path}")
    return 0


async def screencap(call: Call) -> int:
    """Write the screen as a PNG to a file, or to the output."""
    words = list(call.arguments)
    if "-d" in words:
        at = words.index("-d")
        del words[at : at + 2]
    as_png = "-p" in words
    paths = [word for word in words if not word.startswith("-")]
    if not as_png and not (paths and paths[0].endswith(".png")):
        return await call.complain("screencap: only PNG is known here, use -p")
    if call.phone.awake:
        picture = await asyncio.to_thread(png_of, call.phone.screen())
    else:
        picture = black_png()
    if not paths:
        await call.write_out(picture)
        return 0
    try:
        call.phone.write_file(paths[0], picture)
    except OSError as error:
        return await call.complain(f"Error opening file: {paths[0]} ({error.strerror})")
    return 0


COMMANDS: Table = {
    "input": input_command,
    "screencap": screencap,
    "uiautomator": uiautomator,
}
