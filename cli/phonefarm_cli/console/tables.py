"""Prints tables on a terminal, and tab-separated lines for other programs."""

import sys
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from phonefarm_cli.terminal import OUT


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print rows under columns; on a terminal print *empty* when there are none."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *lines]:
            print("\t".join(" ".join(cell.split()) for cell in line))
        return
    if not lines:
        OUT.print(escape(empty), style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*[escape(cell) for cell in line])
    OUT.print(table)


def counted(number: int, noun: str) -> str:
    """Return the number and the noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
