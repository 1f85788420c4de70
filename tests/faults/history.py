"""What a fault run left behind, as plain values: all that the checker reads, and nothing else.

Moments of REST, receiver and phones are seconds since 1970 by the clock of the one machine they all
run on; those of the database are microseconds by its own clock, which faults set.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from faults.clocks import DATABASE_CLOCK, Setting, Shown
from phonefarm_simulator.ledger import Kind
from support.snapshots import Row, Snapshot

TOKEN: Final = re.compile(r"zq[0-9]{6}")
"""A word that one request has in its inputs and no other: what a phone shows of it is its own."""


HAND: Final = frozenset(
    {
        Kind.APP_STARTED,
        Kind.TAPPED,
        Kind.SWIPED,
        Kind.TYPED,
        Kind.TYPING_REFUSED,
        Kind.SEARCHED,
        Kind.PROFILE_SAVED,
    }
)
"""Effects that only a run has. Clean-up and recovery force-stop, remove and go home: not these."""


class AskKind(StrEnum):
    """What a caller asked for."""

    WORK = "work"  # enqueue and maintenance: answered with a process
    CONTENT = "content"  # ingest: answered with an item
    CANCEL = "cancel"
    TAKE_BACK = "take back"  # the cancel of what was ingested


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call with its answer. `key` names what is asked for: who repeats it means the same.

    `status` is 0 when no answer came: then nobody knows whether it was done.
    """

    kind: AskKind
    key: str
    status: int
    began: float
    ended: float
    answer: Mapping[str, Any]
    retry_after: bool = False
    not_before: int | None = None  # microseconds
    deadline: int | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether the farm has said that it will see to it."""
        made = self.kind in {AskKind.WORK, AskKind.CONTENT}
        return made and self.status in {200, 202}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One callback as it came to the receiver, and what it was answered (0: never)."""

    at: float
    process_id: str
    sequence: int
    milestone: str
    signed: bool
    answered: int


@dataclass(frozen=True, kw_only=True)
class JournalRun:
    """A run in an agent's journal, with the numbers of its records that nobody acknowledged."""

    agent_id: str
    run_id: str
    phase: str
    last_sequence: int
    unacknowledged: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class History:
    """All of it, after the faults have ended and the farm came to rest."""

    asks: tuple[Ask, ...]
    rows: Snapshot
    ledgers: Mapping[str, tuple[Row, ...]]  # by serial number
    arrivals: tuple[Arrival, ...]
    journal: tuple[JournalRun, ...]
    settings: tuple[Setting, ...] = ()  # of all clocks, in order
    began: float = -math.inf
    ended: float = math.inf  # nothing was written before the one or behind the other

    @cached_property
    def database_clock(self) -> Shown:
        """Return what the database's clock showed, and when."""
        settings = [one for one in self.settings if one.clock == DATABASE_CLOCK]
        return Shown(settings, began=self.began, ended=self.ended)

    @cached_property
    def items_of(self) -> Mapping[str, list[Row]]:
        """Return the items by their process."""
        return _by("process_id", self.rows.items.values())

    @cached_property
    def runs_of(self) -> Mapping[str, list[Row]]:
        """Return the runs by their item, in order."""
        return _by("item_id", sorted(self.rows.runs.values(), key=lambda run: run["attempt"]))

    @cached_property
    def moves_of(self) -> Mapping[str, list[Row]]:
        """Return the noted moves by process, in the order in which they were made."""
        rows = self.rows.transitions
        return _by("process_id", (rows[number] for number in sorted(rows)))

    @cached_property
    def results_of(self) -> Mapping[str, list[Row]]:
        """Return the kept records by run, in order."""
        rows = sorted(self.rows.results.values(), key=lambda row: row["sequence"])
        return _by("run_id", rows)

    @cached_property
    def process_of_token(self) -> Mapping[str, str]:
        """Return whose each word is; what was asked for is in the process's inputs."""
        return {
            token: key
            for key, row in self.rows.processes.items()
            for token in TOKEN.findall(row["inputs"])
        }


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A promise that was broken, of whom, and what shows it."""

    promise: str
    subject: str
    shows: str


def _by(column: str, rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found
