"""What the command says: short lines, with colour where it is read on a terminal."""

from typing import Final

from rich.console import Console
from rich.markup import escape

OUT: Final = Console(highlight=False, soft_wrap=True)
ERR: Final = Console(highlight=False, soft_wrap=True, stderr=True)


def tell(line: str) -> None:
    """Say that something is as it should be."""
    OUT.print(escape(line))


def note(line: str) -> None:
    """Say something that may be passed over."""
    OUT.print(escape(line), style="dim")


def warn(line: str) -> None:
    """Say something that must not be passed over."""
    OUT.print(escape(f"! {line}"), style="bold yellow")


def complain(line: str) -> None:
    """Say on stderr why the command cannot go on."""
    ERR.print(escape(line), style="bold red")
