"""The spans of a process that has ended, from what a database may keep of one."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from phonefarm_common.tracing import FinishedSpan
from phonefarm_controller.model.states import ItemState, ProcessState, RunState
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.monitoring.process_spans import (
    _PHASES,
    _WAITS,
    EndedProcess,
    span_of,
)
from phonefarm_controller.store.runs import EndedAction, Run
from support.histories import new_item, new_process

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = "run-1"
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text()


def at(seconds: float) -> datetime:
    """Return a moment after noon."""
    return NOON + timedelta(seconds=seconds)


def timeline(*moves: tuple[float, str, int]) -> list[Transition]:
    """Return the timeline of an item that came into these states, at seconds and in an attempt."""
    numbers = count(1)
    before, found = None, []
    for seconds, state, attempt in moves:
        found.append(
            Transition(
                number=next(numbers),
                process_id="p",
                item_id="i",
                at=at(seconds),
                from_state=before,
                to_state=state,
                actor="controller",
                reason=f"to {state}",
                attempt=attempt,
                phone_id="ph" if attempt else None,
                account_id="acc" if attempt else None,
            )
        )
        before = state
    return found


def ended(
    moves: list[Transition], *, ready_at: float = 0, actions: tuple[EndedAction, ...] = ()
) -> EndedProcess:
    """Return a process of one item with this timeline, whose first attempt took these actions."""
    last = ItemState(moves[-1].to_state)
    item = new_item(
        item_id="i",
        state=last,
        ready_at=at(ready_at),
        attempt=moves[-1].attempt,
        finished_at=moves[-1].at,
    )
    process = replace(
        new_process(),
        created_at=NOON,
        state=ProcessState.DONE if last is ItemState.DONE else ProcessState.DEAD_LETTER,
        finished_at=moves[-1].at,
    )
    run = Run(
        run_id=RUN,
        item_id="i",
        attempt=1,
        phone_id="ph",
        account_id="acc",
        agent_id="agent",
        lease_id="l",
        epoch=1,
        state=RunState.ENDED,
        created_at=NOON,
        outcome="done",
    )
    return EndedProcess(
        process=process,
        timeline=moves,
        items={"i": item},
        runs={("i", 1): run},
        actions={RUN: actions},
    )


def action(seconds: float, stored_at: float) -> EndedAction:
    """Return an action that took so long."""
    return EndedAction(kind="tap", index=0, seconds=seconds, stored_at=at(stored_at), code=None)


def steps(process: EndedProcess) -> tuple[FinishedSpan, ...]:
    """Return the waits and runs of its item."""
    (item,) = span_of(process).children
    return item.children


def times(spans: tuple[FinishedSpan, ...]) -> list[tuple[str, float, float]]:
    """Return names with their times in seconds after noon."""
    return [
        (one.name, (one.start - NOON).total_seconds(), (one.end - NOON).total_seconds())
        for one in spans
    ]


DONE = timeline(
    (0, "QUEUED", 0), (36_000, "CLAIMED", 1), (36_002, "EXECUTING", 1), (36_010, "DONE", 1)
)


def test_a_wait_of_ten_hours_is_one_span() -> None:
    """With the times that the timeline has."""
    assert times(steps(ended(DONE))) == [
        ("wait in queue", 0, 36_000),
        ("run", 36_000, 36_010),
    ]


def test_what_waits_for_its_time_then_waits_in_the_queue() -> None:
    """The item stays SCHEDULED until it is claimed; it is due before that."""
    moves = timeline((0, "SCHEDULED", 0), (70, "CLAIMED", 1), (80, "DEAD_LETTER", 1))

    assert times(steps(ended(moves, ready_at=60)))[:2] == [
        ("wait until due", 0, 60),
        ("wait in queue", 60, 70),
    ]


def test_an_item_that_was_never_claimed_has_only_its_wait() -> None:
    """Its end says why, and the process is an error."""
    moves = timeline((0, "QUEUED", 0), (100, "DEAD_LETTER", 0))
    process = span_of(ended(moves))

    assert times(process.children[0].children) == [("wait in queue", 0, 100)]
    assert process.children[0].error == "to DEAD_LETTER"
    assert process.error == "failed_terminal"


def test_a_claim_that_was_given_back_is_a_run_without_an_error() -> None:
    """Nobody is charged with it; the item waits again."""
    moves = timeline(
        (0, "QUEUED", 0),
        (1, "CLAIMED", 1),
        (2, "QUEUED", 1),
        (3, "CLAIMED", 2),
        (4, "EXECUTING", 2),
        (5, "DONE", 2),
    )
    found = steps(ended(moves))

    assert [name for name, _, _ in times(found)] == [
        "wait in queue",
        "run",
        "wait in queue",
        "run",
    ]
    assert [one.error for one in found] == [None] * 4
    assert [one.name for one in found[1].children] == ["prepare"]


def test_actions_have_the_durations_of_the_executor() -> None:
    """Each ends when its report was stored."""
    run = steps(ended(DONE, actions=(action(2, 36_005), action(3, 36_009))))[-1]

    assert times(run.children[1].children) == [
        ("action tap", 36_003, 36_005),
        ("action tap", 36_006, 36_009),
    ]


def test_reports_that_came_late_together_are_actions_one_after_the_other() -> None:
    """The agent was not connected; no action begins before the run, or reaches into the next."""
    late = (action(2, 36_009), action(3, 36_009), action(4, 36_009))
    run = steps(ended(DONE, actions=late))[-1]

    assert times(run.children[1].children) == [
        ("action tap", 36_002, 36_002),
        ("action tap", 36_002, 36_005),
        ("action tap", 36_005, 36_009),
    ]


def test_a_process_counts_all_of_its_items() -> None:
    """Also those whose spans are not sent."""
    known = ended(DONE)
    more = replace(known, timeline=[*DONE, replace(DONE[0], item_id="another", number=9)])

    assert span_of(more).attributes["phonefarm.items"] == 2
    assert len(span_of(more).children) == 1


def test_the_page_names_every_span() -> None:
    """docs/tracing.md has a row for each kind of span."""
    rows = re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE)
    named = set(re.findall(r"`([^`]*)`", " ".join(rows)))

    assert named >= {"item", "run", *_WAITS.values(), *_PHASES.values()}
