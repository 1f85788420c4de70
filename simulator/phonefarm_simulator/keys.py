"""The key codes that the phone knows (Android's KeyEvent constants)."""

import enum


class Key(enum.IntEnum):
    """Keys that do something here; any other number up to 340 is accepted and does nothing."""

    HOME = 3
    BACK = 4
    DPAD_LEFT = 21
    DPAD_RIGHT = 22
    POWER = 26
    ENTER = 66
    DEL = 67
    MENU = 82
    FORWARD_DEL = 112
    MOVE_HOME = 122
    MOVE_END = 123
    APP_SWITCH = 187
    SLEEP = 223
    WAKEUP = 224
    PASTE = 279


HIGHEST_CODE = 340
_OTHER_NAMES = {
    "TAB": 61,
    "SPACE": 62,
    "ESCAPE": 111,
    "VOLUME_UP": 24,
    "VOLUME_DOWN": 25,
    "VOLUME_MUTE": 164,
    "DPAD_UP": 19,
    "DPAD_DOWN": 20,
    "DPAD_CENTER": 23,
}


def key_code(word: str) -> int | None:
    """Return the code a word of `input keyevent` names; None when it names none."""
    if word.isascii() and word.isdigit():
        code = int(word[:9])
        return code if code <= HIGHEST_CODE else None
    name = word.upper().removeprefix("KEYCODE_")
    if name in Key.__members__:
        return Key[name]
    return _OTHER_NAMES.get(name)
