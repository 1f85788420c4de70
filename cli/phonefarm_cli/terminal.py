"""Prints lines for people: on a terminal in colour, and without failing when the reader is gone."""

import os
from typing import Final

from rich.console import Console
from rich.markup import escape


class _Console(Console):
    """A console whose reader may go away: `up` still stops its programs in order."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich would end the program here."""
        self.quiet = True
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, self.file.fileno())
        os.close(silence)


OUT: Final = _Console(highlight=False, soft_wrap=True)
ERR: Final = _Console(highlight=False, soft_wrap=True, stderr=True)


def echo(line: str) -> None:
    """Print a line on stdout."""
    OUT.print(escape(line))


def note(line: str) -> None:
    """Print a line on stdout that the reader may skip."""
    OUT.print(escape(line), style="dim")


def note_stderr(line: str) -> None:
    """Print a line on stderr that the reader may skip: stdout is left for a table or a file."""
    ERR.print(escape(line), style="dim")


def warn(line: str) -> None:
    """Print a warning on stdout."""
    OUT.print(escape(f"! {line}"), style="bold yellow")


def print_error(line: str) -> None:
    """Print on stderr why the command failed."""
    ERR.print(escape(line), style="bold red")
