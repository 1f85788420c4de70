"""A process follows its items: random histories, and the rules one by one."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example
from hypothesis import strategies as st
from phonefarm_controller.model.processes import Tally, derive, milestone, rolled_up
from phonefarm_controller.model.states import (
    ITEM_TERMINAL,
    PROCESS_MOVES,
    PROCESS_TERMINAL,
    IllegalMoveError,
    ItemState,
    ProcessState,
    PublicStatus,
)
from support.examples import given
from support.histories import BEGIN, MOVES, History, new_item, new_process, tallied

I, P, S = ItemState, ProcessState, PublicStatus  # noqa: E741 - read beside each other below
ENDS = frozenset({S.COMPLETED, S.FAILED_TERMINAL, S.CANCELLED})

STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([*sorted(MOVES), "wish"])), max_size=40
)


def played(count: int, steps: Sequence[tuple[int, str]]) -> list[History]:
    """Return the history after each step, as separate values."""
    history = History(items=[new_item(ordinal) for ordinal in range(count)])
    seen = []
    for place, move in steps:
        if move == "wish":
            history.wish()
        else:
            history.do(place, move)
        seen.append(History(items=list(history.items), process=history.process))
    seen.append(history)
    return seen


@given(count=st.integers(1, 4), steps=STEPS)
@example(count=2, steps=[(0, "claim"), (0, "start"), (0, "infra"), (0, "requeue"), (0, "claim")])
@example(count=2, steps=[(0, "expire"), (1, "claim"), (1, "void"), (1, "claim"), (1, "start")])
def test_no_history_of_items_makes_an_illegal_process(
    count: int, steps: list[tuple[int, str]]
) -> None:
    """Every step of every history is a move of the table, and ends when its items have ended."""
    for history in played(count, steps):  # an illegal move would have raised
        process, lines = history.process, history.items

        assert (process.state in PROCESS_TERMINAL) == all(item.terminal for item in lines)
        assert (process.finished_at is not None) == (process.state in PROCESS_TERMINAL)
        assert (process.executing_at is not None) == any(item.executed for item in lines)
        assert (process.retrying_at is not None) == (process.state is P.RETRYABLE)
        if process.executing_at is not None:
            assert process.status is not S.QUEUED


@given(count=st.integers(1, 4), steps=STEPS)
def test_what_a_caller_hears_is_a_story(count: int, steps: list[tuple[int, str]]) -> None:
    """Milestones are the changes of the status, in order, with one end or none yet."""
    history = played(count, steps)[-1]
    told = history.milestones

    changes = [b for a, b in pairwise(history.statuses) if a is not b and b is not S.QUEUED]
    assert told == changes
    assert all(a is not b for a, b in pairwise(told))
    assert sum(status in ENDS for status in told) <= 1
    assert all(status not in ENDS for status in told[:-1])
    if S.RETRYING in told:
        assert told.index(S.EXECUTING) < told.index(S.RETRYING)
    if S.COMPLETED in told:
        assert told[0] is S.EXECUTING


@given(count=st.integers(1, 4), steps=STEPS)
def test_an_ended_process_is_never_touched_again(count: int, steps: list[tuple[int, str]]) -> None:
    """Looking again at ended items changes nothing, not even the moment it finished."""
    for history in played(count, steps):
        later = rolled_up(
            history.process, tallied(history.items), next_attempt=None, now=BEGIN.replace(year=2030)
        )

        if history.process.state in PROCESS_TERMINAL:
            assert later == history.process
            assert milestone(history.process, later) is None
        else:
            assert later.state is history.process.state


@given(
    before=st.sampled_from(ProcessState),
    counts=st.lists(
        st.builds(Tally, state=st.sampled_from(I), executed=st.booleans(), count=st.integers(0, 2)),
        max_size=6,
    ),
)
def test_sync_obeys_the_table_whatever_it_is_given(
    before: ProcessState, counts: list[Tally]
) -> None:
    """Even tallies that no history makes cannot move a process against the table."""
    if not any(tally.count for tally in counts):
        with pytest.raises(ValueError, match="at least one item"):
            derive(counts)
        return
    process = new_process()
    object.__setattr__(process, "state", before)

    try:
        after = rolled_up(process, counts, next_attempt=None, now=BEGIN)
    except IllegalMoveError:
        assert derive(counts) not in PROCESS_MOVES[before] | {before}
    else:
        assert after.state in PROCESS_MOVES[before] | {before}
        ended = all(tally.state in ITEM_TERMINAL for tally in counts if tally.count)
        assert (after.state in PROCESS_TERMINAL) == ended


@pytest.mark.parametrize(
    ("items", "state"),
    [
        ("QUEUED", P.PLANNED),
        ("SCHEDULED QUEUED", P.PLANNED),
        ("CLAIMED", P.CLAIMED),
        ("CLAIMED QUEUED", P.CLAIMED),
        ("EXECUTING+ QUEUED", P.EXECUTING),
        ("EXECUTING+ DEAD_LETTER", P.EXECUTING),
        ("EXECUTING+ RETRYABLE+", P.EXECUTING),
        ("RETRYABLE+", P.RETRYABLE),
        ("QUEUED+", P.RETRYABLE),
        ("CLAIMED+", P.RETRYABLE),
        ("RETRYABLE+ DONE+", P.RETRYABLE),
        ("CLAIMED+ QUEUED", P.RETRYABLE),
        ("DONE+ QUEUED", P.EXECUTING),
        ("DEAD_LETTER QUEUED", P.EXECUTING),
        ("DEAD_LETTER CLAIMED", P.EXECUTING),
        ("DONE+", P.DONE),
        ("DONE+ DONE+", P.DONE),
        ("DEAD_LETTER", P.DEAD_LETTER),
        ("DEAD_LETTER+ DEAD_LETTER", P.DEAD_LETTER),
        ("DONE+ DEAD_LETTER", P.PARTIAL),
        ("CANCELLED", P.CANCELLED),
        ("CANCELLED DONE+ DEAD_LETTER", P.CANCELLED),
    ],
)
def test_the_first_rule_that_matches_decides(items: str, state: ProcessState) -> None:
    """The rules of process sync, one line each; `+` marks an item that has executed."""
    tallies = [
        Tally(state=I(word.rstrip("+")), executed=word.endswith("+"), count=1)
        for word in items.split()
    ]

    assert derive(tallies) is state
