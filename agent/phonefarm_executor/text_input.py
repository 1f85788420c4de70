"""Types text into fields by keys, then setText, then the clipboard; reads it back each time."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from phonefarm_executor.phone import Phone, has_keys
from phonefarm_executor.ui_server import UiServer, UiServerError, UiServerLostError

CALL_SECONDS = 8.0
_FOCUSED, _PACKAGE = 0x020000, 0x080000
"""Bits of a selector's mask, which mark the fields that count (uiautomator2, _selector.py)."""


class TextInput:
    """Types into the field that has the cursor. Everything raises what Phone raises."""

    def __init__(self, *, phone: Phone, server: UiServer, package: str) -> None:
        self._phone = phone
        self._server = server
        self._package = package

    def ways(self, text: str) -> Iterator[str]:
        """Put *text* into the emptied field in one way after another, until the caller is content.

        Each name that is yielded says how it was put there. Keys come twice: the first letters
        typed after the cursor was set get lost on some phones (argent#562).
        """
        if has_keys(text):
            for _ in range(2):
                self._phone.type_text(text)
                yield "keys"
        with suppress(UiServerError, UiServerLostError):
            self._call("setText", self._field(), text)
            yield "setText"
        with suppress(UiServerError, UiServerLostError):
            self._paste(text)
            yield "clipboard"

    def insert(self, text: str) -> bool:
        """Type *text* where the cursor is; tell whether a way was found."""
        if has_keys(text):
            self._phone.type_text(text)
            return True
        with suppress(UiServerError, UiServerLostError):
            self._paste(text)
            return True
        return False

    def content(self) -> str | None:
        """Return what the field reads by the UI server, emoji and all; None when it cannot tell."""
        with suppress(UiServerError, UiServerLostError):
            return str(self._call("getText", self._field()) or "")
        return None

    def _paste(self, text: str) -> None:
        """Paste *text*, and give the clipboard back what it held."""
        before = self._call("getClipboard")
        self._call("setClipboard", None, text)
        try:
            self._call("pasteClipboard")
        finally:
            if before is not None:
                self._call("setClipboard", None, before)

    def _call(self, method: str, *params: Any) -> Any:
        return self._server.call(method, *params, limit=CALL_SECONDS)

    def _field(self) -> Mapping[str, Any]:
        """Return the selector of the app's field that has the cursor."""
        return {
            "mask": _FOCUSED | _PACKAGE,
            "childOrSibling": [],
            "childOrSiblingSelector": [],
            "focused": True,
            "packageName": self._package,
        }


def as_dumped(text: str) -> str:
    """Return how the UI server's dump writes a text: `..` for each emoji (uiautomator2#1111)."""
    return "".join(".." if ord(letter) > 0xFFFF else letter for letter in text)
