"""How a command ends when it cannot do what it was asked."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What `phonefarm` tells the shell; main documents them."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    CANCELLED = 3
    BUSY = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot go on; the text says why and what to do, for people."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
