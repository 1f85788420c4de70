"""Input methods: the command `ime`, and the keyboard that uiautomator2 installs and broadcasts to.

Source: openatx/android-uiautomator-server, AdbKeyboard.java, and what uiautomator2 3.7.1 sends.
"""

import base64
import binascii
from collections.abc import Mapping

from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.input_events import press_keys, put_text, type_text
from phonefarm_simulator.keys import Key
from phonefarm_simulator.phone import Phone

LATIN = "com.android.inputmethod.latin/.LatinIME"
ADB_KEYBOARD = "com.github.uiautomator/.AdbKeyboard"
ACTIONS = "ADB_KEYBOARD_"
_CHOSEN = ("secure", "default_input_method")
_EDITOR_ACTIONS = {"2", "3", "4", "6"}  # go, search, send, done: each sends what was typed
DONE, IGNORED = -1, 0


def input_methods(phone: Phone) -> list[str]:
    """Return the ids of the input methods that are installed."""
    installed = ADB_KEYBOARD.partition("/")[0] in phone.packages
    return [LATIN, ADB_KEYBOARD] if installed else [LATIN]


async def ime(call: Call) -> int:
    """List the input methods, enable, disable and choose one."""
    phone = call.phone
    match call.arguments:
        case ["list", *_]:
            for each in input_methods(phone):
                await call.say(each)
        case ["enable" | "disable" | "set" as verb, name]:
            if name not in input_methods(phone):
                return await call.complain(f"Unknown input method {name}")
            if verb == "set":
                phone.settings[_CHOSEN] = name
            elif verb == "disable" and phone.settings.get(_CHOSEN) == name:
                phone.settings[_CHOSEN] = LATIN
            done = {"enable": "enabled", "disable": "disabled", "set": "selected"}[verb]
            await call.say(f"Input method {name}: now {done}")
        case ["reset"]:
            phone.settings[_CHOSEN] = LATIN
        case _:
            return await call.complain("Error: unknown command of ime", status=255)
    return 0


def take_broadcast(phone: Phone, action: str, extras: Mapping[str, str]) -> int:
    """Do what a broadcast asks of the keyboard; return its result: -1 done, 0 nobody took it."""
    chosen = phone.settings.get(_CHOSEN) == ADB_KEYBOARD
    if not chosen or ADB_KEYBOARD not in input_methods(phone):
        return IGNORED
    match action.removeprefix(ACTIONS):
        case "INPUT_TEXT":
            try:
                text = base64.b64decode(extras.get("text", ""), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return IGNORED
            type_text(phone, text)
        case "CLEAR_TEXT":
            put_text(phone, "")
        case "SMART_ENTER":
            press_keys(phone, [Key.ENTER])
        case "EDITOR_CODE":
            if extras.get("code") in _EDITOR_ACTIONS:
                press_keys(phone, [Key.ENTER])
        case "HIDE":
            pass
        case _:
            return IGNORED
    return DONE


COMMANDS: Table = {"ime": ime}
