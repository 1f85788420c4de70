"""The error of a command, and the exit codes."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of `phonefarm`; main documents them."""

    OK = 0
    FAILED = 1
    MISUSED = 2
    CANCELLED = 3
    BUSY = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot go on; the text says why and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
