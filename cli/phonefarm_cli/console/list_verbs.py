"""The verbs that list: as a table, sorted, watched, or as JSON."""

import argparse
import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group
from rich.live import Live
from rich.text import Text

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.console.connect import Subparsers, add_verb
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.console.tables import Cell, print_table, rendered, tabbed
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import OUT, note, note_stderr

WATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a verb lists: rows under columns, and the same as JSON, a record for each row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    records: Sequence[Any]
    empty: str
    optional: Sequence[str] = ()
    """The columns that a narrow terminal omits, in this order."""
    summary: str = ""
    """A line below the table on a terminal."""
    more: str = ""
    """A line on stderr that says how to list the rest."""
    around: Callable[[list[Any]], Any] = list
    """Makes the JSON document from the records."""


Lister = Callable[[argparse.Namespace, ControllerClient], Awaitable[Listing]]


def add_list(
    verbs: Subparsers, name: str, about: str, lister: Lister, *, notes: str = ""
) -> argparse.ArgumentParser:
    """Add a verb that lists, with --sort, --reverse and --watch."""
    parser = add_verb(verbs, name, about, partial(_perform, lister), notes=notes)
    add_order(parser)
    return parser


def add_order(parser: argparse.ArgumentParser) -> None:
    """Add --sort, --reverse and --watch."""
    parser.add_argument("--sort", metavar="COLUMN", help="order by this column of the table")
    parser.add_argument("--reverse", action="store_true", help="reverse the order")
    parser.add_argument(
        "--watch",
        action="store_true",
        help=(
            "print the list again every 2 s until Ctrl-C; if the output goes to a pipe or a file, "
            "print the list only when it changes"
        ),
    )


async def _perform(
    lister: Lister, options: argparse.Namespace, controller: ControllerClient
) -> ExitCode:
    if options.watch:
        await _watch(lister, options, controller)
    print_listing(ordered(await lister(options, controller), options), options)
    return ExitCode.OK


def print_listing(listing: Listing, options: argparse.Namespace) -> None:
    """Print the list once, as the options say."""
    if options.json:
        print_json(listing.around(list(listing.records)))
        return
    print_table(listing.columns, listing.rows, empty=listing.empty, optional=listing.optional)
    if listing.summary and OUT.is_terminal:
        note(listing.summary)
    if listing.more:
        note_stderr(listing.more)


def ordered(listing: Listing, options: argparse.Namespace) -> Listing:
    """Return the list in the order of the options; CommandError names the columns."""
    pairs = list(zip(listing.rows, listing.records, strict=True))
    if options.sort:
        names = [name.lower() for name in listing.columns]
        if options.sort.lower() not in names:
            message = f"--sort: there is no column {options.sort}; choose from {', '.join(names)}"
            raise CommandError(message, ExitCode.MISUSED)
        at = names.index(options.sort.lower())
        pairs.sort(key=lambda pair: _key(pair[0][at]))
    if options.reverse:
        pairs.reverse()
    return replace(listing, rows=[row for row, _ in pairs], records=[one for _, one in pairs])


def _key(cell: Cell) -> list[tuple[int, int, str]]:
    """Return the key by which cells are ordered: numbers by value, `host-2` before `host-10`."""
    if isinstance(cell, Timestamp):
        return [(0, cell.ToNanoseconds(), "")]
    parts = re.findall(r"\d+|\D+", cell.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


async def _watch(lister: Lister, options: argparse.Namespace, controller: ControllerClient) -> None:
    """List again and again until cancelled, through restarts of the controller."""
    if options.json or not OUT.is_terminal:
        await _watch_changes(lister, options, controller)
        return
    with Live(console=OUT, screen=True, auto_refresh=False) as live:
        shown = Group()
        while True:
            try:
                shown = _view(ordered(await lister(options, controller), options))
                live.update(shown, refresh=True)
            except UnreachableError as error:
                live.update(Group(shown, Text(str(error), style="red")), refresh=True)
            await asyncio.sleep(WATCH_SECONDS)


def _view(listing: Listing) -> Group:
    now = datetime.now(UTC)
    shown = rendered(
        listing.columns, listing.rows, optional=listing.optional, width=OUT.width, now=now
    )
    table = shown.table if listing.rows else Text(listing.empty, style="dim")
    line = f"{listing.summary or f'{len(listing.rows)} listed'}, {now:%H:%M:%SZ}; Ctrl-C stops"
    return Group(table, Text(line, style="dim"))


async def _watch_changes(
    lister: Lister, options: argparse.Namespace, controller: ControllerClient
) -> None:
    before: list[str] | None = None
    while True:
        try:
            listing = ordered(await lister(options, controller), options)
            lines = [tabbed(row) for row in listing.rows]
            if lines != before:
                print_listing(listing, options)
                before = lines
        except UnreachableError as error:
            note_stderr(str(error))
        await asyncio.sleep(WATCH_SECONDS)
