"""Files that people hand in: read with a bound, and what is wrong in them told by line."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phonefarm_cli.errors import CommandError, ExitCode

LARGEST_BYTES: Final = 16 * 1024 * 1024
_MOST_TOLD: Final = 100


@dataclass(frozen=True, kw_only=True)
class InputProblem:
    """What is wrong on a line; line 0 is the file as a whole."""

    line: int
    text: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"line {self.line}: {self.text}" if self.line else self.text


class InputFileError(Exception):
    """The file cannot be read, or lines of it are wrong; it names all of them."""

    def __init__(self, *wrong: InputProblem) -> None:
        super().__init__("\n".join(map(str, wrong)))
        self.wrong = wrong

    def as_command_error(self, file: str, outcome: str) -> CommandError:
        """Return it as the end of a command, which did *outcome*."""
        lines = [f"  {one}" for one in self.wrong[:_MOST_TOLD]]
        if len(self.wrong) > _MOST_TOLD:
            lines.append(f"  and {len(self.wrong) - _MOST_TOLD} more")
        return CommandError("\n".join([f"{file} is not right, {outcome}:", *lines]))


def read_input(file: str) -> bytes:
    """Return what the file, or stdin for -, holds, cut behind the bound; CommandError."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(LARGEST_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        why = f"{file} cannot be read: {error.strerror}"
        raise CommandError(why, ExitCode.MISUSED) from error


def decode_text(content: bytes) -> str:
    """Return the content as text, without a byte order mark; InputFileError."""
    if len(content) > LARGEST_BYTES:
        told = f"the file is larger than {LARGEST_BYTES // 1024 // 1024} MiB"
        raise InputFileError(InputProblem(line=0, text=told))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputFileError(InputProblem(line=line, text="is not UTF-8 text")) from error
