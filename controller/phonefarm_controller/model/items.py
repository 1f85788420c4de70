"""A queue item and its moves. Each move returns a new value, or raises IllegalMoveError."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from phonefarm_common.backoff import backoff
from phonefarm_common.reasons import FailureClass

from phonefarm_controller.model import failures
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ITEM_TERMINAL, ItemState, check_item_move
from phonefarm_controller.model.transitions import ACCEPTED

HOLD: Final = "hold"
"""The capability of a hold: a person drives the phone, for no account."""
GOLDEN: Final = "golden_job"
"""The capability of a golden job: the phone shows that it can work, for no account."""
NO_APP: Final = ""
"""The app of work that needs no app profile and no account."""
NO_ACCOUNT: Final = ""
"""The account of a lease on a phone alone."""
NO_DEADLINE: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""The deadline of an item that may wait for ever."""


class CancelStrategy(StrEnum):
    """How hard a run is stopped."""

    SOFT = "soft"
    HARD = "hard"
    SOFT_THEN_FORCE = "soft_then_force"


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """An order to end an item's run; the item keeps it until the run has ended.

    A caller's ends the item with it. An operator's who pauses what runs gives it back to the queue.
    """

    reason: str
    strategy: CancelStrategy
    force_after_seconds: float
    give_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """One unit to claim. `want_x` is what the request allows, and `x` is what the claim chose."""

    item_id: str
    process_id: str
    ordinal: int
    capability: str
    app: str
    state: ItemState
    priority: int
    created_at: datetime
    ready_at: datetime  # claimable from here on
    deadline_at: datetime  # the latest moment for the first action
    deadline_given: bool  # by the caller; else it is the farm's own limit, and pauses move it
    want_phone_id: str | None
    want_account_id: str | None
    want_phone_group: str | None
    actions_total: int
    once_actions: tuple[int, ...]
    cap_seconds: float
    profile_version: str
    # What changes:
    phone_id: str | None = None
    account_id: str | None = None
    attempt: int = 0
    work_failures: int = 0
    infra_failures: int = 0
    executed: bool = False  # some attempt passed the start gate
    run_id: str | None = None
    lease_id: str | None = None
    epoch: int = 0
    once_started: str | None = None  # kind of the `once` action that began and is not known done
    once_done: tuple[int, ...] = ()
    actions_done: int = 0
    last_phone_id: str | None = None
    failure: Failure | None = None
    outputs: str | None = None  # JSON object
    cancel: Cancellation | None = None
    finished_at: datetime | None = None
    # Why the last move was made; kept in its transition, not with the item:
    because: str = ACCEPTED

    @property
    def by_hand(self) -> bool:
        """Tell whether a person drives the phone: no pause holds it back, and it is tried once."""
        return self.capability == HOLD

    @property
    def golden(self) -> bool:
        """Tell whether it is a golden job: also a phone that is to come back does it."""
        return self.capability == GOLDEN

    @property
    def without_app(self) -> bool:
        """Tell whether it is a caller's work that needs no app profile and no account."""
        return self.app == NO_APP

    @property
    def terminal(self) -> bool:
        """Tell whether nothing can happen to it any more."""
        return self.state in ITEM_TERMINAL

    def is_attempt(self, *, attempt: int, lease_id: str, epoch: int) -> bool:
        """Tell whether a report comes from the item's current attempt: this fences every write."""
        return (self.attempt, self.lease_id, self.epoch) == (attempt, lease_id, epoch)


def shown_deadline(deadline_at: datetime) -> datetime | None:
    """Return the deadline of an item as people see it: None when it may wait for ever."""
    return None if deadline_at == NO_DEADLINE else deadline_at


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An item that could be claimed now."""

    item_id: str
    process_id: str
    priority: int
    created_at: datetime
    ordinal: int
    app: str
    want_phone_id: str | None
    want_account_id: str | None
    want_phone_group: str | None
    last_phone_id: str | None
    cap_seconds: float

    @property
    def queue_order(self) -> tuple[int, datetime, int, str]:
        """Return the place in the queue: priority first, then age."""
        return (-self.priority, self.created_at, self.ordinal, self.item_id)


def _moved(item: Item, to: ItemState, because: str, **changes: object) -> Item:
    check_item_move(item.state, to)
    return replaced(item, state=to, because=because, **changes)


def claimed(
    item: Item, *, phone_id: str, account_id: str, run_id: str, lease_id: str, epoch: int
) -> Item:
    """Return the item given to a phone for an account, as its next attempt."""
    return _moved(
        item,
        ItemState.CLAIMED,
        "claimed",
        phone_id=phone_id,
        account_id=account_id,
        run_id=run_id,
        lease_id=lease_id,
        epoch=epoch,
        attempt=item.attempt + 1,
        actions_done=0,
    )


def started(item: Item) -> Item:
    """Return the item past the start gate."""
    return _moved(item, ItemState.EXECUTING, "started", executed=True)


def voided(item: Item, *, because: str, now: datetime) -> Item:
    """Return what a claim that never passed the start gate makes of the item.

    It goes back to the queue uncharged, or ends when it was cancelled. An agent that began a `once`
    action without asking has lost it the way back.
    """
    if item.once_started is not None:
        return dead(item, failure=failures.outcome_unknown(item.once_started), now=now)
    if item.cancel is not None and not item.cancel.give_back:
        return _as_wished(item, item.cancel, now=now)
    return _moved(item, ItemState.QUEUED, because, **_unheld(item))


def given_back(item: Item, *, now: datetime) -> Item:
    """Return what a run that was stopped for a pause makes of the item: it waits, uncharged.

    A `once` action that began and is not known done ends it all the same.
    """
    if item.once_started is not None:
        return dead(item, failure=failures.outcome_unknown(item.once_started), now=now)
    to = ItemState.RETRYABLE if item.state is ItemState.EXECUTING else ItemState.QUEUED
    return _moved(item, to, "stopped_for_a_pause", ready_at=now, **_unheld(item))


def requeued(item: Item) -> Item:
    """Return a retryable item whose back-off is over to the queue."""
    return _moved(item, ItemState.QUEUED, "backoff_over")


def done(item: Item, *, now: datetime) -> Item:
    """Return the item with everything done."""
    return _moved(
        item, ItemState.DONE, "done", failure=None, finished_at=now, actions_done=item.actions_total
    )


def cancelled(item: Item, *, failure: Failure, because: str, now: datetime) -> Item:
    """Return the item ended by a cancel."""
    return _moved(item, ItemState.CANCELLED, because, failure=failure, finished_at=now)


def dead(item: Item, *, failure: Failure, now: datetime) -> Item:
    """Return the item ended without success."""
    return _moved(item, ItemState.DEAD_LETTER, failure.code, failure=failure, finished_at=now)


def failed(
    item: Item, failure: Failure, *, policy: RetryPolicy, now: datetime, chance: Callable[[], float]
) -> Item:
    """Return what a failed attempt makes of the item.

    An item cancelled by its caller ends CANCELLED. An open `once` action, an account's failure and
    a final one end it. Else it is tried again while its class has attempts left; infra is not
    charged to work.
    """
    if item.once_started is not None:
        return dead(item, failure=failures.outcome_unknown(item.once_started), now=now)
    if item.cancel is not None and not item.cancel.give_back:
        return _as_wished(item, item.cancel, now=now)
    if failure.failure_class is FailureClass.INFRA:
        charged = replace(item, infra_failures=item.infra_failures + 1)
        count, most = charged.infra_failures, policy.infra_attempts
    else:
        charged = replace(item, work_failures=item.work_failures + 1)
        count, most = charged.work_failures, 1 if item.once_actions else policy.work_attempts
    account = failure.failure_class is FailureClass.ACCOUNT
    if account or failure.final or count >= most or item.by_hand:
        return dead(charged, failure=failure, now=now)
    wait = backoff(
        count,
        first=policy.retry_first,
        factor=policy.retry_factor,
        most=policy.retry_most,
        jitter=policy.retry_jitter,
        chance=chance,
    )
    to = ItemState.RETRYABLE if item.state is ItemState.EXECUTING else ItemState.QUEUED
    ready_at = now + timedelta(seconds=wait)
    return _moved(charged, to, failure.code, failure=failure, ready_at=ready_at, **_unheld(item))


def _as_wished(item: Item, wish: Cancellation, *, now: datetime) -> Item:
    failure = failures.cancelled(wish.reason)
    return cancelled(item, failure=failure, because=wish.reason, now=now)


def _unheld(item: Item) -> dict[str, object]:
    """Name the fields that an ended attempt gives back."""
    return {
        "phone_id": None,
        "account_id": None,
        "last_phone_id": item.phone_id,
        "cancel": None,
    }
