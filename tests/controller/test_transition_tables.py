"""The tables of allowed moves, and an item's moves against them."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

import pytest
from hypothesis import strategies as st
from phonefarm_common.reasons import FailureClass
from phonefarm_controller.model import items, states
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.states import (
    ITEM_ACTIVE,
    ITEM_MOVES,
    ITEM_TERMINAL,
    ITEM_WAITING,
    IllegalMoveError,
    ItemState,
)
from support.examples import given
from support.histories import BEGIN, MOVES, POLICY, WISH, failing, new_item

TABLES: dict[str, Mapping[StrEnum, frozenset[StrEnum]]] = {
    name: getattr(states, name)
    for name in ("PROCESS_MOVES", "ITEM_MOVES", "RUN_MOVES", "LEASE_MOVES", "DELIVERY_MOVES")
}
SECONDS = timedelta(seconds=1)


def any_item() -> st.SearchStrategy[Item]:
    """Draw an item in any state, with any past."""
    return st.builds(
        lambda state, executed, work, infra, once, wish: new_item(
            state=state,
            executed=executed,
            work_failures=work,
            infra_failures=infra,
            once=(2,) if once else (),
            once_started="confirm" if once == "open" else None,
            cancel=WISH if wish else None,
            phone_id="ph",
            account_id="acc",
            lease_id="l",
        ),
        state=st.sampled_from(ItemState),
        executed=st.booleans(),
        work=st.integers(0, 3),
        infra=st.integers(0, 3),
        once=st.sampled_from(["", "plan", "open"]),
        wish=st.booleans(),
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_every_state_and_some_end_is_reachable_from_each(name: str) -> None:
    """No state is forgotten, none is a trap."""
    moves = TABLES[name]
    kind = type(next(iter(moves)))

    ends = {state for state, to in moves.items() if not to}
    reaches_end = set(ends)
    for _ in moves:
        reaches_end |= {state for state, to in moves.items() if to & reaches_end}

    assert set(moves) == set(kind)
    assert all(to <= set(kind) for to in moves.values())
    assert ends
    assert reaches_end == set(kind)


def test_every_item_state_is_waiting_active_or_terminal() -> None:
    """The three groups are the whole, and nothing is in two."""
    assert set(ItemState) == ITEM_WAITING | ITEM_ACTIVE | ITEM_TERMINAL
    assert not ITEM_WAITING & ITEM_ACTIVE
    assert not (ITEM_WAITING | ITEM_ACTIVE) & ITEM_TERMINAL


@given(item=any_item(), move=st.sampled_from(sorted(MOVES)))
def test_a_move_follows_the_table_or_raises(item: Item, move: str) -> None:
    """No way around the table, from no state, with no past."""
    try:
        after = MOVES[move](item, BEGIN)
    except IllegalMoveError as error:
        refused = error
    else:
        assert after.state in ITEM_MOVES[item.state]
        assert after.terminal == (after.finished_at is not None)
        return
    assert refused.after not in ITEM_MOVES[item.state]
    assert f"{item.state} to {refused.after}" in str(refused)


@given(
    item=any_item().filter(lambda item: item.state in ITEM_ACTIVE),
    failure_class=st.sampled_from(FailureClass),
    final=st.booleans(),
    chance=st.floats(0, 1),
)
def test_a_failed_attempt_is_tried_again_only_where_that_is_allowed(
    item: Item, failure_class: FailureClass, final: bool, chance: float
) -> None:
    """The whole of the retry rules, as one sentence per ending."""
    failure = failing(failure_class, final=final)
    infra = failure_class is FailureClass.INFRA

    after = items.failed(item, failure, policy=POLICY, now=BEGIN, chance=lambda: chance)

    if item.once_started is not None:
        assert after.state is ItemState.DEAD_LETTER
        assert after.failure is not None
        assert after.failure.code == "outcome_unknown:confirm"
    elif item.cancel is not None:
        assert after.state is ItemState.CANCELLED
    elif after.state is ItemState.DEAD_LETTER:
        most_work = 1 if item.once_actions else POLICY.work_attempts
        used = item.infra_failures + 1 if infra else item.work_failures + 1
        most = POLICY.infra_attempts if infra else most_work
        assert final or failure_class is FailureClass.ACCOUNT or used >= most
        assert after.failure == failure
    else:
        assert after.state in {ItemState.RETRYABLE, ItemState.QUEUED}
        assert (after.state is ItemState.RETRYABLE) == (item.state is ItemState.EXECUTING)
        assert not final
        assert failure_class is not FailureClass.ACCOUNT
        assert after.infra_failures == item.infra_failures + infra
        assert after.work_failures == item.work_failures + (not infra)
        assert 4 * SECONDS <= after.ready_at - BEGIN <= 720 * SECONDS
        assert (after.phone_id, after.account_id) == (None, None)
        assert after.last_phone_id == item.phone_id


@given(
    attempt=st.integers(0, 3),
    lease=st.sampled_from(["l", "m"]),
    epoch=st.integers(0, 3),
)
def test_only_the_whole_reference_is_the_attempt(attempt: int, lease: str, epoch: int) -> None:
    """Attempt, lease and epoch must all be the current ones."""
    item = new_item(attempt=2, lease_id="l", epoch=1)

    current = item.is_attempt(attempt=attempt, lease_id=lease, epoch=epoch)

    assert current == ((attempt, lease, epoch) == (2, "l", 1))
