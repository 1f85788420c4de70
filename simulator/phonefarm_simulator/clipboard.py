"""The phone's clipboard; it tells its listeners when the text changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clipboard:
    """Holds one text; None until somebody copies one."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._listeners: list[Callable[[str], None]] = []

    def put(self, text: str, *, but_not: Callable[[str], None] | None = None) -> None:
        """Hold another text and tell it to the listeners, but not to the one that put it."""
        self.text = text
        for listener in self._listeners:
            if listener != but_not:
                listener(text)

    @contextmanager
    def watched(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Call *listener* with each new text within the block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
