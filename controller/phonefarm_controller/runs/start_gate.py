"""The start gate: whether a prepared run may act, decided in one transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from phonefarm_common.reasons import FailureCode

from phonefarm_controller.agents.sessions import SupersededError
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model import failures
from phonefarm_controller.model.items import NO_ACCOUNT, CancelStrategy, Item, dead, started, voided
from phonefarm_controller.model.leases import Lease, releasing
from phonefarm_controller.model.limits import NO_RUNS, AccountLimits, AccountRuns
from phonefarm_controller.model.pauses import Pause, pause_of
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.run_reports import RunRef
from phonefarm_controller.model.states import ITEM_ACTIVE, ItemState, LeaseState, RunState
from phonefarm_controller.model.transitions import by_agent
from phonefarm_controller.model.windows import CLOSED, NO_END, Periods, Window, windows_for
from phonefarm_controller.runs.unit_of_work import UnitOfWork, open_unit_of_work
from phonefarm_controller.store import agents, groups, limits, pauses, phones, windows
from phonefarm_controller.store.database import Database, Transaction

PAUSED: Final = "paused"
"""The reason when the gate takes a run back because of a pause; it counts as no attempt."""
DRAINING: Final = "draining"
"""The reason when an operator drains its phone or its host."""
OUTSIDE_WINDOW: Final = "outside_window"
"""The reason when a window has closed, or would close before the run's time limit."""

LIMIT_REACHED: Final = "limit_reached"
"""The reason when the run's account has reached a limit since the claim."""


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """A prepared run that has not acted yet; *term* is that of the session that reports it.

    *asked_at* is the agent's own, for its answer.
    """

    agent_id: str
    term: int
    run: RunRef
    container: str
    asked_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StartAnswer:
    """The gate's answer: `stop` is None for go; otherwise it says why and how the run must stop.

    Go is good for *seconds_left* from when it was asked for; 0: for ever, it has begun already.
    """

    run: RunRef
    stop: str | None
    asked_at: float = 0.0
    seconds_left: float = 0.0
    strategy: CancelStrategy = CancelStrategy.HARD
    force_after_seconds: float = 0.0


class StartGate:
    """Answers many runs at a time; a repeated question gets the same answer."""

    def __init__(self, *, database: Database, deliveries_made: Callable[[], None]) -> None:
        self._database = database
        self._deliveries_made = deliveries_made
        self._periods = Periods()

    @uninterrupted
    async def __call__(self, asks: Sequence[StartRequest]) -> list[StartAnswer | SupersededError]:
        """Return go or stop for each, in order; the items that may act are EXECUTING.

        SupersededError: a newer session of the agent has taken over, and nothing was decided.
        """
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, {ask.run.lease_id for ask in asks})
            orders = await _read_orders(tx, work)
            # After the locks: a newer session wrote of these items only after it took its term.
            # The time too: the deadline may have passed while this waited for the locks.
            terms = await agents.terms(tx, {ask.agent_id for ask in asks})
            if orders.timed or any(item.deadline_given for item in work.items_before.values()):
                work.tx = await tx.later()
            stops = {
                ask: _decide(work, ask, orders, self._periods)
                for ask in asks
                if terms.get(ask.agent_id) == ask.term
            }
            await work.save(locked)
        self._deliveries_made()
        return [
            _answer(ask, stops[ask], work, orders, self._periods)
            if ask in stops
            else SupersededError()
            for ask in asks
        ]


def _decide(work: UnitOfWork, ask: StartRequest, orders: "_Orders", periods: Periods) -> str | None:
    """Return why the run must not act, None for go; move its item, lease and run accordingly.

    One asked for twice in a batch is decided by what was before, both times.
    """
    item = work.items_before.get(ask.run.item_id)
    stop = _refusal(ask, work.leases_before.get(ask.run.lease_id), item)
    if stop is not None or item is None:
        return stop
    lease, run = work.leases_before[ask.run.lease_id], work.runs_before[ask.run.run_id]
    now, waits = work.tx.now, item.state is ItemState.CLAIMED
    work.actors[item.item_id] = by_agent(ask.agent_id)
    late = item.deadline_at <= now and orders.limited(item, lease)
    if not waits:
        # Where it has reported nothing it had not heard go when it asked again, and may have by
        # now: the agent knows which, and nothing ends before it has said so.
        return FailureCode.DEADLINE_PASSED if late and not run.last_sequence else None
    because = orders.hold_back(item, lease)
    if because is None and now >= _last_start(item, lease, orders, periods, now):
        because = OUTSIDE_WINDOW
    if because is None and orders.limit_reached(item, now):
        because = LIMIT_REACHED
    # The farm's own limit stands still while a pause holds the item back.
    if late and (item.deadline_given or because != PAUSED):
        failure = failures.expired(deadline=item.deadline_given, last=item.failure)
        work.items[item.item_id] = dead(item, failure=failure, now=now)
        work.leases[lease.lease_id] = releasing(lease)
        work.runs[run.run_id] = replaced(run, state=RunState.ENDED, ended_at=now)
        return FailureCode.DEADLINE_PASSED
    if because is not None:
        work.items[item.item_id] = voided(item, because=because, now=now)
        work.leases[lease.lease_id] = releasing(lease)
        work.runs[run.run_id] = replaced(run, state=RunState.VOIDED, ended_at=now, outcome=because)
        return because
    work.items[item.item_id] = started(item)
    work.runs[run.run_id] = replaced(
        run, state=RunState.EXECUTING, started_at=now, container=ask.container
    )
    return None


@dataclass(frozen=True, kw_only=True)
class _Orders:
    """The orders of operators that concern the runs at the gate."""

    paused: Sequence[Pause]
    drained_hosts: Collection[str]
    drained_phones: Collection[str]
    windows: Sequence[Window]
    groups: Mapping[str, Collection[str]]
    limits: AccountLimits
    runs: Mapping[str, AccountRuns]

    @property
    def timed(self) -> bool:
        """Tell whether some of them depend on the time."""
        return bool(self.windows or self.limits)

    def limit_reached(self, item: Item, now: datetime) -> bool:
        """Tell whether the account has done what its limits allow; this run does not count yet."""
        account_id = item.account_id or NO_ACCOUNT
        return bool(self.limits.reached(account_id, self.runs.get(account_id, NO_RUNS), now))

    def hold_back(self, item: Item, lease: Lease) -> str | None:
        """Return why an operator keeps the run from beginning; None when it may."""
        if lease.agent_id in self.drained_hosts:
            return DRAINING
        if lease.phone_id in self.drained_phones and not item.by_hand:
            return DRAINING
        if item.cancel is not None:  # to be given back, also when it was resumed meanwhile
            return PAUSED
        if item.by_hand:
            return None
        pause = pause_of(
            self.paused, app=item.app, account_id=item.account_id, capability=item.capability
        )
        return None if pause is None else PAUSED

    def windows_of(self, item: Item, lease: Lease) -> list[Window]:
        """Return the windows of the run; a hold has none."""
        if item.by_hand or not self.windows:
            return []
        return windows_for(
            self.windows,
            capability=item.capability,
            account_id=item.account_id,
            phone_id=lease.phone_id,
            groups=self.groups.get(lease.phone_id, ()),
        )

    def limited(self, item: Item, lease: Lease) -> bool:
        """Tell whether the item's deadline counts; the farm's own does not where a window is."""
        return item.deadline_given or not self.windows_of(item, lease)


async def _read_orders(tx: Transaction, work: UnitOfWork) -> _Orders:
    memberships: Mapping[str, Collection[str]] = {}
    found: Sequence[Window] = ()
    if await windows.any_at_all(tx):
        phone_ids = {lease.phone_id for lease in work.leases_before.values()}
        memberships = await groups.of_phones(tx, phone_ids)
        found = await windows.of_work(
            tx,
            account_ids={lease.account_id for lease in work.leases_before.values()},
            phone_ids=phone_ids,
            group_names={name for names in memberships.values() for name in names},
        )
    limited = AccountLimits(await limits.all_of(tx))
    account_ids = {lease.account_id for lease in work.leases_before.values()}
    return _Orders(
        limits=limited,
        runs=await limits.account_runs(tx, limited, account_ids),
        paused=await pauses.all_of(tx),
        drained_hosts=await agents.drained(tx),
        drained_phones=await phones.drained(tx),
        windows=found,
        groups=memberships,
    )


def _last_start(
    item: Item, lease: Lease, orders: _Orders, periods: Periods, now: datetime
) -> datetime:
    """Return the last moment at which the windows let the run begin, as they are *now*."""
    end = periods.end(orders.windows_of(item, lease), now)
    return end if end in {CLOSED, NO_END} else end - timedelta(seconds=item.cap_seconds)


def _refusal(ask: StartRequest, lease: Lease | None, item: Item | None) -> str | None:
    if lease is None or item is None:
        return "unknown_run"
    if lease.agent_id != ask.agent_id or lease.run_id != ask.run.run_id:
        return "not_your_run"
    ref = ask.run
    current = item.is_attempt(attempt=ref.attempt, lease_id=ref.lease_id, epoch=ref.epoch)
    if not current or lease.state is not LeaseState.LIVE:
        return "lease_lost"
    if item.state not in ITEM_ACTIVE:
        return "lease_lost"
    # Also behind the gate: the go before may have been lost, and nothing been done yet.
    if item.cancel is None or (item.cancel.give_back and item.state is ItemState.CLAIMED):
        return None
    return PAUSED if item.cancel.give_back else FailureCode.CANCELLED


def _answer(
    ask: StartRequest, stop: str | None, work: UnitOfWork, orders: _Orders, periods: Periods
) -> StartAnswer:
    """Return the answer; a run that may have begun after all is stopped as somebody wished."""
    item, now = work.items_before.get(ask.run.item_id), work.tx.now
    if stop is None and item is not None:
        lease = work.leases_before[ask.run.lease_id]
        last = item.deadline_at if orders.limited(item, lease) else NO_END
        if item.state is ItemState.CLAIMED:  # else it has begun already
            last = min(last, _last_start(item, lease, orders, periods, now))
        left = max(0.0, (last - now).total_seconds())
        return StartAnswer(run=ask.run, stop=None, asked_at=ask.asked_at, seconds_left=left)
    if stop in {FailureCode.CANCELLED, PAUSED} and item is not None and item.cancel is not None:
        return StartAnswer(
            run=ask.run,
            stop=stop,
            strategy=item.cancel.strategy,
            force_after_seconds=item.cancel.force_after_seconds,
        )
    return StartAnswer(run=ask.run, stop=stop)
