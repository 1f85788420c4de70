"""A log file of bounded size: it keeps its beginning and its end."""

from dataclasses import dataclass
from pathlib import Path

_HEAD = "head"


@dataclass(frozen=True, kw_only=True)
class LogContent:
    """The content of a bounded log; `left_out` bytes of its middle are gone."""

    data: bytes
    left_out: int


class BoundedLog:
    """A log in several files: the head, then numbered parts, of which the last two stay.

    Everything is read back from the names and sizes of the parts, so the agent's next process goes
    on where this one ended. All calls block, and raise OSError.
    """

    def __init__(self, folder: Path, name: str, *, head: int, part: int) -> None:
        self._folder = folder
        self._name = name
        self._head = head
        self._part = part

    def write(self, data: bytes) -> None:
        """Append *data*, cut to the size of one part."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = self._folder / f"{self._name}.{_HEAD}"
        numbers = self._numbers()
        if not numbers and _size(head) + len(data) <= self._head:
            _append(head, data)
            return
        newest = numbers[-1] if numbers else 0
        if not numbers or _size(self._at(newest)) + len(data) > self._part:
            newest += 1
            for number in numbers[:-1]:
                self._at(number).unlink()
        _append(self._at(newest), data[-self._part :])

    def tail(self, size: int) -> bytes:
        """Return at most the last *size* bytes."""
        return self.read().data[-size:]

    def read(self) -> LogContent:
        """Return the content, with a line where bytes were left out."""
        numbers = self._numbers()
        head = _read(self._folder / f"{self._name}.{_HEAD}")
        tail = b"".join(_read(self._at(number)) for number in numbers)
        left_out = (numbers[0] - 1) * self._part if numbers else 0
        if left_out:
            head += f"\n--------- phonefarm: about {left_out} bytes omitted\n".encode()
        return LogContent(data=head + tail, left_out=left_out)

    def remove(self) -> None:
        """Remove all files of the log."""
        for path in self._folder.glob(f"{self._name}.*"):
            path.unlink(missing_ok=True)

    def _at(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number}"

    def _numbers(self) -> list[int]:
        ends = (path.suffix[1:] for path in self._folder.glob(f"{self._name}.*"))
        return sorted(int(tail) for tail in ends if tail.isdecimal())


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
