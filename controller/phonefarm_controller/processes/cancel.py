"""Cancels a process: ends waiting items, orders runs to stop, and does not wait for agents."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from phonefarm_common.timers import Timers

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model import failures
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Cancellation, CancelStrategy, Item, cancelled, dead
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.run_reports import Stop, stop_of
from phonefarm_controller.model.states import ITEM_ACTIVE, ITEM_WAITING, PROCESS_TERMINAL
from phonefarm_controller.model.transitions import by_caller
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.store import agents, items, processes, runs
from phonefarm_controller.store.database import Database, Transaction

_STRENGTH: Final[Mapping[CancelStrategy, int]] = {
    CancelStrategy.SOFT: 0,
    CancelStrategy.SOFT_THEN_FORCE: 1,
    CancelStrategy.HARD: 2,
}


@dataclass(frozen=True, kw_only=True)
class CancelRequest:
    """A caller's request to end a process."""

    process_id: str
    reason: str
    requested_by: str
    strategy: CancelStrategy
    force_after_seconds: float
    caller: str = ""  # the name of the key it came with


@dataclass(frozen=True, kw_only=True)
class CancelAnswer:
    """The effect of the cancellation, as of its transaction."""

    process: Process
    ignored: bool
    cancelled_items: tuple[str, ...]
    active_items: tuple[str, ...]
    first_active: Item | None
    termination: str
    container: str | None


class CancelProcess:
    """Cancels one process."""

    def __init__(
        self, *, database: Database, sessions: Sessions, wakeups: WakeUps, timers: Timers
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._wakeups = wakeups
        self._timers = timers

    @uninterrupted
    async def __call__(self, request: CancelRequest) -> CancelAnswer:
        """Commit the cancellation and send the stops; FarmError `unknown_process`."""
        async with self._database.writing(actor=by_caller(request.caller)) as tx:
            locked = await processes.lock(tx, {request.process_id})
            if request.process_id not in locked:
                raise unknown_process(request.process_id)
            before = await items.lock_of_processes(tx, {request.process_id})
            process = locked[request.process_id]
            if process.state in PROCESS_TERMINAL:
                return _answer(process, ignored=True, after=before.values())
            after = [_with_cancellation(item, request, tx) for item in before.values()]
            changed = [item for item in after if item is not before[item.item_id]]
            await items.save(tx, before, changed)
            await processes.note_cancel(tx, request.process_id, requested_by=request.requested_by)
            synced = await roll_up_status(tx, locked, cancel_requested={request.process_id})
            answer, stops = await self._consequences(
                tx, request, synced[request.process_id], after, before
            )
        self._wakeups.orders_made(self._sessions.send(stops))
        self._wakeups.deliveries()
        return answer

    async def _consequences(
        self,
        tx: Transaction,
        request: CancelRequest,
        process: Process,
        after: list[Item],
        before: Mapping[str, Item],
    ) -> tuple[CancelAnswer, list[Stop]]:
        active = sorted(
            (item for item in after if item.state in ITEM_ACTIVE), key=lambda item: item.ordinal
        )
        here = await runs.get(tx, {item.run_id for item in active if item.run_id is not None})
        stops = [
            stop_of(item, here[item.run_id].agent_id) for item in active if item.run_id in here
        ]
        answer = _answer(process, ignored=False, after=after, before=before)
        if not active:
            return answer, stops
        run = here[active[0].run_id or ""]
        known = await agents.get(tx, {run.agent_id})
        agent = known.get(run.agent_id)
        silent = timedelta(seconds=self._timers.suspect)
        reached = agent is not None and agent.connected and tx.now - agent.heard_at <= silent
        termination = {
            CancelStrategy.SOFT: "requested",
            CancelStrategy.SOFT_THEN_FORCE: "scheduled",
            CancelStrategy.HARD: "issued",
        }[(active[0].cancel or _cancellation(request)).strategy]
        return (
            replace(
                answer,
                termination=termination if reached else "agent_unreachable",
                container=run.container,
            ),
            stops,
        )


def _cancellation(request: CancelRequest) -> Cancellation:
    return Cancellation(
        reason=request.reason,
        strategy=request.strategy,
        force_after_seconds=request.force_after_seconds,
    )


def _with_cancellation(item: Item, request: CancelRequest, tx: Transaction) -> Item:
    """End a waiting item; put the cancellation on an active one, unless it has a stronger one."""
    if item.state in ITEM_WAITING:
        failure = failures.cancelled(request.reason)
        return cancelled(item, failure=failure, because=request.reason, now=tx.now)
    if item.state not in ITEM_ACTIVE:
        return item
    known = item.cancel
    if known is not None and not known.give_back and _stronger(known.strategy, request.strategy):
        return item
    return replace(item, cancel=_cancellation(request))


def _stronger(one: CancelStrategy, other: CancelStrategy) -> bool:
    return _STRENGTH[one] > _STRENGTH[other]


def _answer(
    process: Process,
    *,
    ignored: bool,
    after: Iterable[Item],
    before: Mapping[str, Item] | None = None,
) -> CancelAnswer:
    ordered = sorted(after, key=lambda item: item.ordinal)
    active = [item for item in ordered if item.state in ITEM_ACTIVE]
    ended = [
        item.item_id
        for item in ordered
        if before is not None and item is not before[item.item_id] and item.terminal
    ]
    return CancelAnswer(
        process=process,
        ignored=ignored,
        cancelled_items=tuple(ended),
        active_items=tuple(item.item_id for item in active),
        first_active=active[0] if active else None,
        termination="not_needed",
        container=None,
    )


async def end_waiting(
    tx: Transaction, waiting: Sequence[tuple[str, str]], why: Callable[[Item], Failure]
) -> None:
    """End those of these (process, item) that still wait, each with the failure of *why*."""
    locked = await processes.lock(tx, {process_id for process_id, _ in waiting})
    before = await items.lock(tx, {item_id for _, item_id in waiting})
    # Read again under lock: one may have been claimed meanwhile and goes on.
    over = [
        dead(item, failure=why(item), now=tx.now)
        for item in before.values()
        if item.state in ITEM_WAITING
    ]
    await items.save(tx, before, over)
    touched = {item.process_id for item in over}
    await roll_up_status(tx, {key: p for key, p in locked.items() if key in touched})
