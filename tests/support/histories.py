"""Random histories of the controller's pure values: items move, their process follows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from phonefarm_common.reasons import FailureClass
from phonefarm_controller.model import failures, items
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Cancellation, CancelStrategy, Item
from phonefarm_controller.model.processes import Process, Tally, milestone, rolled_up
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ITEM_ACTIVE, ITEM_WAITING, ItemState, PublicStatus

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
POLICY: Final = RetryPolicy(infra_attempts=3)
WISH: Final = Cancellation(reason="enough", strategy=CancelStrategy.SOFT, force_after_seconds=1)


def new_item(ordinal: int = 0, *, once: tuple[int, ...] = (), **changes: object) -> Item:
    """Return a queued item of the process `p`; *changes* replace fields."""
    item = Item(
        item_id=f"i{ordinal}",
        process_id="p",
        ordinal=ordinal,
        capability="keyword_warmup",
        app="shortvideo",
        state=ItemState.QUEUED,
        priority=5,
        created_at=BEGIN,
        ready_at=BEGIN,
        deadline_at=BEGIN + timedelta(days=1),
        deadline_given=False,
        want_phone_id=None,
        want_account_id=None,
        want_phone_group=None,
        actions_total=4,
        once_actions=once,
        cap_seconds=300,
        profile_version="v",
    )
    return replace(item, **changes)  # type: ignore[arg-type] # keys are Item's own


def new_process() -> Process:
    """Return a planned process."""
    return Process(
        process_id="p",
        process_type="keyword_warmup",
        request_id="r",
        system="tests",
        user=None,
        requested_by_metadata="{}",
        callback_url=None,
        callback_metadata="{}",
        created_at=BEGIN,
        single_target=False,
    )


def tallied(lines: Sequence[Item]) -> list[Tally]:
    """Count the items as the store does."""
    counts = Counter((item.state, item.executed) for item in lines)
    return [Tally(state=s, executed=e, count=n) for (s, e), n in counts.items()]


def failing(failure_class: FailureClass, *, final: bool = False) -> Failure:
    """Return a failure of a class."""
    return Failure(code="broken", message="m", failure_class=failure_class, final=final)


def _fail(failure: Failure) -> Callable[[Item, datetime], Item]:
    return lambda item, now: items.failed(item, failure, policy=POLICY, now=now, chance=lambda: 0.5)


def _claim(item: Item, now: datetime) -> Item:
    number = item.attempt + 1
    return items.claimed(
        item,
        phone_id="ph",
        account_id="acc",
        run_id=f"r{number}",
        lease_id=f"l{number}",
        epoch=number,
    )


MOVES: Final[Mapping[str, Callable[[Item, datetime], Item]]] = {
    "claim": _claim,
    "start": lambda item, _: items.started(item),
    "void": lambda item, now: items.voided(item, because="refused", now=now),
    "requeue": lambda item, _: items.requeued(item),
    "done": lambda item, now: items.done(item, now=now),
    "cancelled": lambda item, now: items.cancelled(
        item, failure=failures.cancelled("enough"), because="enough", now=now
    ),
    "expire": lambda item, now: items.dead(
        item, failure=failures.expired(deadline=True, last=item.failure), now=now
    ),
    "work": _fail(failing(FailureClass.WORK)),
    "final": _fail(failing(FailureClass.WORK, final=True)),
    "infra": _fail(failing(FailureClass.INFRA)),
    "account": _fail(failing(FailureClass.ACCOUNT)),
}

_POSSIBLE: Final[Mapping[str, frozenset[ItemState]]] = {
    "claim": frozenset({ItemState.QUEUED, ItemState.SCHEDULED}),
    "start": frozenset({ItemState.CLAIMED}),
    "void": frozenset({ItemState.CLAIMED}),
    "requeue": frozenset({ItemState.RETRYABLE}),
    "done": frozenset({ItemState.EXECUTING}),
    "cancelled": ITEM_ACTIVE | ITEM_WAITING,
    "expire": ITEM_ACTIVE | ITEM_WAITING,
    "work": ITEM_ACTIVE,
    "final": ITEM_ACTIVE,
    "infra": ITEM_ACTIVE,
    "account": ITEM_ACTIVE,
}


def possible(item: Item, move: str) -> bool:
    """Tell whether operations would try this move on an item in this state."""
    return item.state in _POSSIBLE[move]


@dataclass
class History:
    """A process with its items; `do` moves one and syncs, as every operation does."""

    items: list[Item]
    process: Process = field(default_factory=new_process)
    now: datetime = BEGIN
    statuses: list[PublicStatus] = field(default_factory=lambda: [PublicStatus.QUEUED])
    milestones: list[PublicStatus] = field(default_factory=list)

    def do(self, place: int, move: str) -> bool:
        """Apply the move if an operation would; return whether it did."""
        item = self.items[place % len(self.items)]
        if not possible(item, move):
            return False
        self.now += timedelta(seconds=1)
        self.items[place % len(self.items)] = MOVES[move](item, self.now)
        self.sync()
        return True

    def wish(self) -> None:
        """Cancel: end what waits, put the wish on what is active."""
        self.now += timedelta(seconds=1)
        for place, item in enumerate(self.items):
            if item.state in ITEM_WAITING:
                self.items[place] = MOVES["cancelled"](item, self.now)
            elif item.state in ITEM_ACTIVE:
                self.items[place] = replace(item, cancel=WISH)
        self.sync()

    def sync(self) -> None:
        """Let the process follow; keep what callers hear."""
        due = [item.ready_at for item in self.items if item.executed and not item.terminal]
        after = rolled_up(
            self.process,
            tallied(self.items),
            next_attempt=min(due, default=None),
            now=self.now,
        )
        if (reached := milestone(self.process, after)) is not None:
            self.milestones.append(reached)
        self.statuses.append(after.status)
        self.process = after
