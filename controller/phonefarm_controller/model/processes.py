"""A process: its state is derived from its items, never set by hand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.states import (
    ITEM_ACTIVE,
    ITEM_TERMINAL,
    PROCESS_MOVES,
    PUBLIC,
    IllegalMoveError,
    ItemState,
    ProcessState,
    PublicStatus,
)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many items of one process are in one state; `executed` as on the item."""

    state: ItemState
    executed: bool
    count: int


@dataclass(frozen=True, kw_only=True)
class Process:
    """The part of a process that can change, and what its record needs."""

    process_id: str
    process_type: str
    request_id: str | None
    system: str
    user: str | None
    requested_by_metadata: str
    callback_url: str | None
    callback_metadata: str
    created_at: datetime
    single_target: bool  # the record names a phone and an account
    traceparent: str | None = None  # the span in which it was requested
    state: ProcessState = ProcessState.PLANNED
    executing_at: datetime | None = None
    retrying_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    finished_at: datetime | None = None
    sequence: int = 0  # of the last delivery

    @property
    def status(self) -> PublicStatus:
        """Return what a caller sees."""
        return PUBLIC[self.state]

    @property
    def trace_id(self) -> str | None:
        """Return the trace that it belongs to, if any."""
        return trace_id_of(self.traceparent)


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace that a valid `traceparent` names; None without one."""
    return traceparent.split("-")[1] if traceparent else None


def derive(tallies: Iterable[Tally]) -> ProcessState:
    """Return the state that the items give their process; the first rule that matches holds."""
    counts = [tally for tally in tallies if tally.count]
    states = {tally.state for tally in counts}
    if not states:
        raise ValueError("a process has at least one item")
    if states <= ITEM_TERMINAL:
        return _ended(states)
    if ItemState.EXECUTING in states:
        return ProcessState.EXECUTING
    if any(tally.executed and tally.state not in ITEM_TERMINAL for tally in counts):
        return ProcessState.RETRYABLE
    if states & ITEM_TERMINAL:
        return ProcessState.EXECUTING
    if states & ITEM_ACTIVE:
        return ProcessState.CLAIMED
    return ProcessState.PLANNED


def _ended(states: set[ItemState]) -> ProcessState:
    if ItemState.CANCELLED in states:
        return ProcessState.CANCELLED
    if states == {ItemState.DONE}:
        return ProcessState.DONE
    if ItemState.DONE not in states:
        return ProcessState.DEAD_LETTER
    return ProcessState.PARTIAL


def rolled_up(
    process: Process, tallies: Iterable[Tally], *, next_attempt: datetime | None, now: datetime
) -> Process:
    """Return the process as its items now are; IllegalMoveError when the table forbids the move.

    *next_attempt* is when the earliest item that waits for another attempt is due.
    """
    counts = list(tallies)
    to = derive(counts)
    if to is not process.state and to not in PROCESS_MOVES[process.state]:
        raise IllegalMoveError(process.state, to)
    return replaced(
        process,
        state=to,
        executing_at=process.executing_at
        or (now if any(tally.executed and tally.count for tally in counts) else None),
        retrying_at=next_attempt if to is ProcessState.RETRYABLE else None,
        finished_at=None if PROCESS_MOVES[to] else process.finished_at or now,
    )


def milestone(before: Process, after: Process) -> PublicStatus | None:
    """Return the milestone the change is, None when no caller hears of it."""
    if after.status is before.status or after.status is PublicStatus.QUEUED:
        return None
    return after.status
