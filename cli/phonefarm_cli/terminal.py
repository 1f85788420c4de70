"""What the command says: short lines, with colour where it is read on a terminal."""

import os
from typing import Final

from rich.console import Console
from rich.markup import escape


class _Console(Console):
    """A console that nobody need read: a farm is stopped in order also when its reader is gone."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on; rich would end the program here."""
        self.quiet = True
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, self.file.fileno())
        os.close(silence)


OUT: Final = _Console(highlight=False, soft_wrap=True)
ERR: Final = _Console(highlight=False, soft_wrap=True, stderr=True)


def tell(line: str) -> None:
    """Say that something is as it should be."""
    OUT.print(escape(line))


def note(line: str, *, err: bool = False) -> None:
    """Say something that may be passed over; on stderr when stdout is for another program."""
    (ERR if err else OUT).print(escape(line), style="dim")


def warn(line: str) -> None:
    """Say something that must not be passed over."""
    OUT.print(escape(f"! {line}"), style="bold yellow")


def complain(line: str) -> None:
    """Say on stderr why the command cannot go on."""
    ERR.print(escape(line), style="bold red")


def aside(line: str) -> None:
    """Say on stderr what may be passed over, so that what stdout has stays a table or a file."""
    ERR.print(escape(line), style="dim")
