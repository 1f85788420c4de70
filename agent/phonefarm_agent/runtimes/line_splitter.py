"""Splits a stream of bytes into lines."""

MAX_LINE_BYTES = 1024 * 1024


class LineSplitter:
    """Joins chunks into lines, and cuts each line at MAX_LINE_BYTES."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that *chunk* completes, without their newline."""
        *complete, rest = chunk.split(b"\n")
        lines = []
        for part in complete:
            self._hold(part)
            lines.append(self._take())
        self._hold(rest)
        return lines

    def rest(self) -> list[bytes]:
        """Return the last line when it had no newline."""
        return [self._take()] if self._held else []

    def _hold(self, part: bytes) -> None:
        part = part[: MAX_LINE_BYTES - self._held]
        if part:
            self._parts.append(part)
            self._held += len(part)

    def _take(self) -> bytes:
        line = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        return line
