"""Prints tables: fitted and coloured on a terminal, tab-separated lines for other programs."""

import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, TypeAlias, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from phonefarm_cli.console.state_styles import style_of
from phonefarm_cli.console.times import relative_text, time_text
from phonefarm_cli.terminal import OUT, note_stderr

Cell: TypeAlias = str | Timestamp
"""Text, or a time: relative on a terminal (`4 min ago`), absolute for other programs."""

_C = TypeVar("_C")

SHORT_ID: Final = 8
_GAP: Final = 2
_LONGEST_WORD: Final = 36
"""A column of text is as wide as its longest word, so that ids in it stay whole."""
_READABLE: Final = 30
"""Below this width of a text column, optional columns are omitted."""


class _Kind(Enum):
    ID = auto()  # a UUID: shortened to a unique beginning where a line has no room
    NAME = auto()  # a name or a number: always whole
    STATE = auto()  # a state: always whole, in its colour
    TEXT = auto()  # wraps between words; times are whole


_KINDS: Final[Mapping[str, _Kind]] = {
    **dict.fromkeys(("ITEM", "PROCESS", "RUN"), _Kind.ID),
    **dict.fromkeys(
        ("ACTIVE", "CONDITION", "CONNECTED", "FROM", "OUTCOME", "SIGNS", "STATE", "STATUS", "TO"),
        _Kind.STATE,
    ),
    **dict.fromkeys(
        ("ACCOUNT", "ACTIONS", "ADB", "AGENT", "APP", "ATTEMPT", "ATTEMPTS", "AXIS", "BYTES"),
        _Kind.NAME,
    ),
    **dict.fromkeys(
        ("CAPABILITY", "CONTEXT", "EPOCH", "GATEWAY", "GROUP", "HOST", "HTTP", "ITEMS", "KIND"),
        _Kind.NAME,
    ),
    **dict.fromkeys(
        ("MEMBERS", "MILESTONE", "NAME", "PHONE", "PHONES", "PROFILE", "SEQUENCE", "SERIAL"),
        _Kind.NAME,
    ),
    **dict.fromkeys(
        ("LASTED", "REQUEST", "SECONDS", "STAGE", "TIME", "TYPE", "VERSION"),
        _Kind.NAME,
    ),
}
"""The kind of each column, by its header; every other column is text."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A table for a terminal, and the columns for which it has no room."""

    table: Table
    left_out: tuple[str, ...]


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    empty: str,
    optional: Sequence[str] = (),
) -> None:
    """Print rows under columns; on a terminal print *empty* when there are none.

    A terminal that is too narrow shows the *optional* columns as far as there is room; the first
    of them is the first to go. It shows no optional column without content.
    """
    lines: list[Sequence[Cell]] = list(rows)
    if not sys.stdout.isatty():
        for line in [columns, *lines]:
            print(tabbed(line))
        return
    if not lines:
        OUT.print(Text(empty), style="dim")
        return
    shown = rendered(columns, lines, optional=optional, width=OUT.width, now=datetime.now(UTC))
    OUT.print(shown.table)
    if shown.left_out:
        names = ", ".join(shown.left_out)
        note_stderr(f"the terminal has no room for {names}: make it wider, or give --json")


def tabbed(line: Iterable[Cell]) -> str:
    """Return the cells of a line for other programs; no cell has a tab or a line end."""
    texts = (time_text(cell) if isinstance(cell, Timestamp) else cell for cell in line)
    return "\t".join(" ".join(text.split()) for text in texts)


def rendered(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    optional: Sequence[str],
    width: int,
    now: datetime,
) -> Rendered:
    """Return the table for a terminal of *width* characters at the time *now*.

    No id, name, state or number is ever cut or wrapped; a table that does not fit is too wide.
    """
    names = list(columns)
    left_out: list[str] = []
    for name in optional:
        if not any(_text(row[names.index(name)], now) for row in rows):
            rows = _without(names, rows, name)
    timed = {at for row in rows for at, cell in enumerate(row) if isinstance(cell, Timestamp)}
    whole = {name for at, name in enumerate(names) if at in timed or _kind(name) is not _Kind.TEXT}
    texts = [[_text(cell, now) for cell in row] for row in rows]
    if _sum(map(max, _lengths(names, texts))) > width:
        _shorten_ids(names, texts)
    for name in optional:
        if _sum(_minima(names, texts, whole, readable=_READABLE)) <= width:
            break
        if name in names:
            texts = _without(names, texts, name)
            left_out.append(name)
    widths = _widths(names, texts, whole, width)
    # rich would squeeze a table that is wider than the terminal.
    table = Table(box=None, pad_edge=False, header_style="bold", width=_sum(widths))
    for name, room in zip(names, widths, strict=True):
        if name in whole:
            table.add_column(name, width=room, no_wrap=True, overflow="ignore")
        else:
            table.add_column(name, width=room, overflow="fold")
    for row in texts:
        table.add_row(*(_styled(name, text) for name, text in zip(names, row, strict=True)))
    return Rendered(table=table, left_out=tuple(left_out))


def counted(number: int, noun: str) -> str:
    """Return the number and the noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _kind(name: str) -> _Kind:
    return _KINDS.get(name, _Kind.TEXT)


def _text(cell: Cell, now: datetime) -> str:
    return relative_text(cell, now=now) if isinstance(cell, Timestamp) else cell


def _styled(name: str, text: str) -> Text:
    return Text(text, style=style_of(text) if _kind(name) is _Kind.STATE else "")


def _without(names: list[str], rows: Sequence[Sequence[_C]], name: str) -> list[list[_C]]:
    """Remove the column from *names*; return the rows without it."""
    at = names.index(name)
    del names[at]
    return [[*row[:at], *row[at + 1 :]] for row in rows]


def _sum(widths: Iterable[int]) -> int:
    """Return how many characters a line with columns of these widths takes."""
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)


def _lengths(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    return [[cell_len(name), *(cell_len(row[at]) for row in rows)] for at, name in enumerate(names)]


def _minima(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    whole: Container[str],
    *,
    readable: int,
) -> list[int]:
    """Return the least width of each column: its longest cell, or for text *readable*.

    Text is never narrower than its longest word.
    """
    least = []
    for at, (name, lengths) in enumerate(zip(names, _lengths(names, rows), strict=True)):
        words = [cell_len(word) for row in rows for word in row[at].split()]
        least_text = max(min(max([cell_len(name), *words]), _LONGEST_WORD), readable)
        least.append(max(lengths) if name in whole else min(least_text, max(lengths)))
    return least


def _widths(
    names: Sequence[str], rows: Sequence[Sequence[str]], whole: Container[str], width: int
) -> list[int]:
    """Return the width of each column: the least, and for text what else there is room for."""
    widths = _minima(names, rows, whole, readable=0)
    wanted = [max(lengths) for lengths in _lengths(names, rows)]
    room = width - _sum(widths)
    while room > 0 and (short := [at for at, have in enumerate(widths) if have < wanted[at]]):
        for at in short[:room]:
            widths[at] += 1
        room -= len(short[:room])
    return widths


def _shorten_ids(names: Sequence[str], rows: list[list[str]]) -> None:
    """Shorten the ids of each column to beginnings that tell them apart."""
    for at in (at for at, name in enumerate(names) if _kind(name) is _Kind.ID):
        whole = {row[at] for row in rows}
        length = SHORT_ID
        while len({text[:length] for text in whole}) < len(whole):
            length += 1
        for row in rows:
            row[at] = row[at][:length]
