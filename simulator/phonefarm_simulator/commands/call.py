"""The call of a command: its arguments, its phone and its streams."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from phonefarm_simulator.phone import Phone

Write = Callable[[bytes], Awaitable[None]]


class Input(Protocol):
    """The input of a command."""

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command: its name, its arguments, the phone, and its three streams."""

    phone: Phone
    name: str
    arguments: tuple[str, ...]
    stdin: Input
    write_out: Write
    write_error: Write
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the line set in front of the command: `CLASSPATH=a.jar app_process ...`."""

    async def say(self, text: str) -> None:
        """Print a line."""
        await self.write_out(text.encode() + b"\n")

    async def complain(self, text: str, *, status: int = 1) -> int:
        """Print a line of error and return `status`."""
        await self.write_error(text.encode() + b"\n")
        return status

    async def complain_of(self, error: OSError, path: str, *, status: int = 1) -> int:
        """Print `name: path: reason` as toybox does and return `status`."""
        reason = os.strerror(error.errno or 0)
        return await self.complain(f"{self.name}: {path}: {reason}", status=status)

    async def read_all(self) -> bytes:
        """Return everything on the input up to its end."""
        found = bytearray()
        while data := await self.stdin.read():
            found += data
        return bytes(found)


Command = Callable[[Call], Awaitable[int]]
Table = Mapping[str, Command]


def split_flags(arguments: tuple[str, ...]) -> tuple[set[str], list[str]]:
    """Return the one-letter flags of `arguments` and the rest; `--` ends the flags."""
    flags: set[str] = set()
    rest: list[str] = []
    for index, word in enumerate(arguments):
        if word == "--":
            rest += arguments[index + 1 :]
            break
        if word.startswith("--"):
            flags.add(word[2:])
        elif word.startswith("-") and len(word) > 1:
            flags.update(word[1:])
        else:
            rest.append(word)
    return flags, rest
