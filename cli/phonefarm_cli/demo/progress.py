"""Shows the progress of the demo's work: a live table on a terminal, else a line per change."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from phonefarm_cli.terminal import OUT, echo

_STYLES = {"DONE": "green", "DEAD_LETTER": "red", "CANCELLED": "yellow", "EXECUTING": "cyan"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One queue item."""

    phone: str
    account: str
    work: str
    status: str
    done: int
    total: int


def items_of(records: Iterable[dict[str, Any]]) -> list[Item]:
    """Return the queue items of process records, in their order."""
    return [
        Item(
            phone=item["phone_id"] or "any phone",
            account=item["account_id"] or "",
            work=record["process_type"],
            status=item["status"],
            done=item["actions_done"],
            total=item["actions_total"],
        )
        for record in records
        for item in record["partial_progress"].get("items", ())
    ]


class Progress:
    """Shows items."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._before: list[Item] = []

    @classmethod
    @contextmanager
    def shown(cls) -> "Iterator[Self]":
        """Yield a view of the items; its last state stays on the terminal."""
        if not OUT.is_terminal:
            yield cls(None)
            return
        with Live(console=OUT, refresh_per_second=10) as live:
            yield cls(live)

    def show(self, items: list[Item]) -> None:
        """Show the items as they are now."""
        if self._live is not None:
            self._live.update(_table(items))
        else:
            for place, item in enumerate(items):
                before = self._before[place] if place < len(self._before) else None
                if item != before:
                    echo(
                        f"  {item.phone}  {item.work:<15} {item.status:<10} "
                        f"{item.done}/{item.total} actions"
                    )
        self._before = items


def _table(items: list[Item]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("  PHONE", "ACCOUNT", "WORK", "STATE", "", "ACTIONS"):
        table.add_column(column)
    for item in items:
        style = _STYLES.get(item.status, "dim")
        table.add_row(
            escape(f"  {item.phone}"),
            escape(item.account),
            item.work,
            f"[{style}]{item.status}[/]",
            ProgressBar(total=max(item.total, 1), completed=item.done, width=24),
            f"{item.done}/{item.total}",
        )
    return table
