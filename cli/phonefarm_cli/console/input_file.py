"""Reads files that operators hand in, up to a size, and lists what is wrong in them by line."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phonefarm_cli.errors import CommandError, ExitCode

LARGEST_BYTES: Final = 16 * 1024 * 1024
_MOST_TOLD: Final = 100


@dataclass(frozen=True, kw_only=True)
class InputProblem:
    """What is wrong on a line; line 0 is the whole file."""

    line: int
    text: str

    def __str__(self) -> str:
        """Return the problem as one line of text."""
        return f"line {self.line}: {self.text}" if self.line else self.text


class InputFileError(Exception):
    """The file is unreadable or wrong; it has all problems."""

    def __init__(self, *wrong: InputProblem) -> None:
        super().__init__("\n".join(map(str, wrong)))
        self.wrong = wrong

    def as_command_error(self, file: str, outcome: str) -> CommandError:
        """Return the error of a command; *outcome* says what it did or left undone."""
        lines = [f"  {one}" for one in self.wrong[:_MOST_TOLD]]
        if len(self.wrong) > _MOST_TOLD:
            lines.append(f"  and {len(self.wrong) - _MOST_TOLD} more")
        return CommandError("\n".join([f"{file} has errors, {outcome}:", *lines]))


def read_input(file: str) -> bytes:
    """Return the bytes of the file, or of stdin for -, and at most one more than is allowed."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(LARGEST_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        why = f"{file} cannot be read: {error.strerror}"
        raise CommandError(why, ExitCode.MISUSED) from error


def decode_text(content: bytes) -> str:
    """Return the content as text without a byte order mark; InputFileError when it is not UTF-8."""
    if len(content) > LARGEST_BYTES:
        told = f"the file is larger than {LARGEST_BYTES // 1024 // 1024} MiB"
        raise InputFileError(InputProblem(line=0, text=told))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputFileError(InputProblem(line=line, text="is not UTF-8 text")) from error
