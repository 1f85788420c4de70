"""The start gate: whether a prepared run may act, decided in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from phonefarm_common.reasons import FailureCode

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model import failures
from phonefarm_controller.model.items import CancelStrategy, Item, dead, started, voided
from phonefarm_controller.model.leases import Lease, releasing
from phonefarm_controller.model.pauses import pause_of
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.run_reports import RunRef
from phonefarm_controller.model.states import ITEM_ACTIVE, ItemState, LeaseState, RunState
from phonefarm_controller.model.transitions import by_agent
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.store import agents, items, leases, pauses, phones, processes, runs
from phonefarm_controller.store.database import Database, Transaction

PAUSED: Final = "paused"
"""Why a run is taken back at the gate, uncharged, when an operator has paused its work."""
DRAINING: Final = "draining"
"""The same when an operator wants its phone free, or its host empty."""


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """A run that is prepared and has not acted; *term* is of the session that tells it.

    *asked_at* is the agent's own, for its answer.
    """

    agent_id: str
    term: int
    run: RunRef
    container: str
    asked_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StartAnswer:
    """`stop` is None for go, else why the run must not act, and how it is to be stopped.

    Go is good for *seconds_left* from when it was asked for; 0: for ever, it has begun already.
    """

    run: RunRef
    stop: str | None
    asked_at: float = 0.0
    seconds_left: float = 0.0
    strategy: CancelStrategy = CancelStrategy.HARD
    force_after_seconds: float = 0.0


class StartGate:
    """Answers many runs at once; repeating a question repeats its answer."""

    def __init__(self, *, database: Database, deliveries_made: Callable[[], None]) -> None:
        self._database = database
        self._deliveries_made = deliveries_made

    @uninterrupted
    async def __call__(self, asks: Sequence[StartRequest]) -> list[StartAnswer | None]:
        """Return go or stop for each, in order; the items that may act are EXECUTING.

        None: a newer session of the agent has taken over, and nothing was decided.
        """
        async with self._database.writing() as tx:
            answers = await self._decide(tx, asks)
        self._deliveries_made()
        return answers

    async def _decide(
        self, tx: Transaction, asks: Sequence[StartRequest]
    ) -> list[StartAnswer | None]:
        named = await leases.get(tx, [ask.run.lease_id for ask in asks])
        locked = await processes.lock(tx, {lease.process_id for lease in named.values()})
        before = await items.lock(tx, {lease.item_id for lease in named.values()})
        held = await leases.get(tx, named)  # again: now nobody else moves them
        old_runs = await runs.get(tx, {lease.run_id for lease in held.values()})
        held_back = await _held_back(tx)
        new_items: dict[str, Item] = {}
        new_leases: dict[str, Lease] = {}
        new_runs: dict[str, runs.Run] = {}
        stops: dict[StartRequest, str | None] = {}
        # Behind the locks: what a newer session wrote of these items is ordered behind its term.
        terms = await agents.terms(tx, {ask.agent_id for ask in asks})
        # And so is the time: it may have passed while the locks were waited for.
        tx = await tx.later() if any(item.deadline_given for item in before.values()) else tx
        current = [ask for ask in asks if terms.get(ask.agent_id) == ask.term]
        for ask in dict.fromkeys(current):  # one asked twice in a batch is decided once
            item = before.get(ask.run.item_id)
            stop = _refusal(ask, held.get(ask.run.lease_id), item)
            if stop is None and item is not None:
                taken_back = (
                    held_back(item, held[ask.run.lease_id])
                    if item.state is ItemState.CLAIMED
                    else None
                )
                waits = item.state is ItemState.CLAIMED
                passed = item.deadline_at <= tx.now
                if passed and not waits and not old_runs[ask.run.run_id].last_sequence:
                    # It had not heard go when it asked again, and may have by now: the agent knows
                    # which, and nothing ends before it has said so.
                    stop = FailureCode.DEADLINE_PASSED
                elif passed and waits:
                    stop = FailureCode.DEADLINE_PASSED
                    new_items[item.item_id] = dead(
                        item,
                        failure=failures.expired(deadline=item.deadline_given, last=item.failure),
                        now=tx.now,
                    )
                    new_leases[ask.run.lease_id] = releasing(held[ask.run.lease_id])
                    new_runs[ask.run.run_id] = replaced(
                        old_runs[ask.run.run_id], state=RunState.ENDED, ended_at=tx.now
                    )
                elif taken_back is not None:
                    stop = taken_back
                    new_items[item.item_id] = voided(item, because=taken_back, now=tx.now)
                    new_leases[ask.run.lease_id] = releasing(held[ask.run.lease_id])
                    new_runs[ask.run.run_id] = replaced(
                        old_runs[ask.run.run_id],
                        state=RunState.VOIDED,
                        ended_at=tx.now,
                        outcome=taken_back,
                    )
                elif item.state is ItemState.CLAIMED:
                    new_items[item.item_id] = started(item)
                    new_runs[ask.run.run_id] = replaced(
                        old_runs[ask.run.run_id],
                        state=RunState.EXECUTING,
                        started_at=tx.now,
                        container=ask.container,
                    )
            stops[ask] = stop
        actors = {ask.run.item_id: by_agent(ask.agent_id) for ask in asks}
        await items.save(tx, before, list(new_items.values()), actors=actors)
        await leases.save(tx, held, list(new_leases.values()))
        await runs.save(tx, old_runs, list(new_runs.values()))
        touched = {item.process_id for item in new_items.values()}
        await roll_up_status(
            tx, {key: process for key, process in locked.items() if key in touched}
        )
        return [
            _answer(ask, stops[ask], before.get(ask.run.item_id), tx.now) if ask in stops else None
            for ask in asks
        ]


async def _held_back(tx: Transaction) -> Callable[[Item, Lease], str | None]:
    """Return why an operator keeps the run from beginning; None when it may."""
    paused = await pauses.all_of(tx)
    hosts, free = await agents.drained(tx), await phones.drained(tx)

    def why(item: Item, lease: Lease) -> str | None:
        if lease.agent_id in hosts or (lease.phone_id in free and not item.by_hand):
            return DRAINING
        if item.cancel is not None:  # to be given back, also when it was resumed meanwhile
            return PAUSED
        if item.by_hand:
            return None
        pause = pause_of(
            paused, app=item.app, account_id=item.account_id, capability=item.capability
        )
        return None if pause is None else PAUSED

    return why


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


def _answer(ask: StartRequest, stop: str | None, item: Item | None, now: datetime) -> StartAnswer:
    """Return the answer; a run that may have begun after all is stopped as somebody wished."""
    if stop is None and item is not None:
        left = max(0.0, (item.deadline_at - now).total_seconds())
        return StartAnswer(run=ask.run, stop=None, asked_at=ask.asked_at, seconds_left=left)
    if stop in {FailureCode.CANCELLED, PAUSED} and item is not None and item.cancel is not None:
        return StartAnswer(
            run=ask.run,
            stop=stop,
            strategy=item.cancel.strategy,
            force_after_seconds=item.cancel.force_after_seconds,
        )
    return StartAnswer(run=ask.run, stop=stop)
