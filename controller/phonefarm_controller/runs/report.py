"""Records what agents report about runs. Each write is fenced, and repeating it is harmless."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_controller.agents.sessions import Sessions, SupersededError
from phonefarm_controller.capabilities.outputs import outputs_of
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.health.policy import is_refused_for_the_phone, is_the_phones
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.health import Blame, HealthPolicy
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import Lease, stopped
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    PhoneReleased,
    Report,
    RunEnded,
    RunRef,
    RunRefused,
)
from phonefarm_controller.model.states import (
    ITEM_ACTIVE,
    ITEM_WAITING,
    ItemState,
    LeaseState,
    RunState,
)
from phonefarm_controller.model.transitions import by_agent
from phonefarm_controller.runs.endings import end_expired, end_run, lost_run, refuse_run, release
from phonefarm_controller.runs.totals import RunTotals
from phonefarm_controller.runs.unit_of_work import UnitOfWork, changed, open_unit_of_work
from phonefarm_controller.store import agents, runs
from phonefarm_controller.store.database import Database

log = structlog.get_logger()

_ENDINGS: Final = (RunEnded, RunRefused, PhoneReleased)
_KINDS: Final = {
    ActionStarted: "action_started",
    ActionDone: "action_done",
    ActionFailed: "action_failed",
    RunEnded: "run_ended",
    RunRefused: "run_refused",
    PhoneReleased: "phone_released",
}
_encode: Final = json.JSONEncoder(default=vars).encode
"""Created once, because json.dumps with an argument creates an encoder for every call."""


@dataclass(frozen=True, kw_only=True)
class Ack:
    """Every record of the run up to *sequence* is stored, or is known to be useless."""

    run_id: str
    epoch: int
    sequence: int


class RecordReports:
    """Stores the records of many runs at a time."""

    def __init__(
        self,
        *,
        database: Database,
        policy: RetryPolicy,
        health: HealthPolicy,
        wakeups: WakeUps,
        sessions: Sessions,
        totals: RunTotals,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._totals = totals
        self._policy = policy
        self._health = health
        self._wakeups = wakeups
        self._sessions = sessions
        self._chance = chance

    @uninterrupted
    async def __call__(self, batch: Sequence[Report]) -> list[Ack | SupersededError]:
        """Return for each record how far its run's records are taken, in order; committed.

        SupersededError: a newer session of the agent has taken over, and the record was not taken;
        it comes again there.
        """
        async with self._database.writing() as tx:
            named = {report.run.lease_id for report in batch}
            work, locked = await open_unit_of_work(tx, named, health=self._health)
            # Behind the locks: what a newer session wrote of these runs is ordered behind its term.
            terms = await agents.terms(tx, {report.agent_id for report in batch})
            told: dict[str, list[Report]] = defaultdict(list)
            current = [report for report in batch if terms.get(report.agent_id) == report.term]
            for report in current:
                told[report.run.run_id].append(report)
            kept = [row for reports in told.values() for row in self._take(work, reports)]
            # Before it can be claimed for again: the phone is not as fit as it was said to be.
            for report in current:
                if isinstance(report.body, RunRefused) and report.run.lease_id in work.leases:
                    lease = work.leases[report.run.lease_id]
                    self._sessions.withdraw(report.agent_id, lease.phone_id)
            await runs.keep_results(tx, kept)
            await self._collect_outputs(work)
            await work.save(locked)
            acks = {run_id: _ack(work, reports[-1]) for run_id, reports in told.items()}
        for run in changed(work.runs_before, work.runs):
            if run.state is RunState.ENDED:
                self._totals.add(work.items[run.item_id], run)
        self._wakeups.deliveries()
        judged = work.quarantined or work.cleaned or work.charged or work.proved
        if judged or work.attention:
            self._wakeups.fleet_changed()
        else:
            self._wakeups.work_made()
        moved = changed(work.items_before, work.items)
        if judged or any(item.state in ITEM_WAITING for item in moved):
            self._wakeups.due_times_changed()  # its back-off may end before anything else is due
        return [
            acks[report.run.run_id]
            if terms.get(report.agent_id) == report.term
            else SupersededError()
            for report in batch
        ]

    def _take(self, work: UnitOfWork, reports: Sequence[Report]) -> list[tuple[object, ...]]:
        """Apply one run's records; return the rows to keep: no repeats, nothing after a gap.

        But the end of what is over here already: this database may have been restored, and what was
        acknowledged since its backup does not come again.
        """
        ref, agent_id = reports[0].run, reports[0].agent_id
        if not _is_its_run(work, ref, agent_id):
            log.warning("report.refused", run_id=ref.run_id, agent_id=agent_id)
            return []
        last = work.runs[ref.run_id].last_sequence
        work.actors[ref.item_id] = by_agent(agent_id)
        rows = []
        for report in reports:
            ending = isinstance(report.body, _ENDINGS)
            over = ending and work.leases[ref.lease_id].state is not LeaseState.LIVE
            if report.run != ref or (report.sequence > last + 1 and not over):
                break  # a gap: not acknowledged, so it comes again in order
            repeat = report.sequence <= last
            current = _is_current(work, ref)
            if not repeat or ending:  # endings look at the state, so that a repeat is harmless
                self._apply(work, report, current=current)
            if not repeat:
                last = report.sequence
                late = not current and not isinstance(report.body, PhoneReleased)
                rows.append(_row(report, late=late, now=work.tx.now))
        if rows:
            work.runs[ref.run_id] = replaced(work.runs[ref.run_id], last_sequence=last)
        return rows

    def _apply(self, work: UnitOfWork, report: Report, *, current: bool) -> None:
        item, lease = work.items[report.run.item_id], work.leases[report.run.lease_id]
        run = work.runs[report.run.run_id]
        match report.body:
            case ActionStarted(index=index, kind=kind):
                if current and index in item.once_actions:
                    work.items[item.item_id] = replaced(item, once_started=kind)
            case ActionDone(index=index):
                if current:
                    work.items[item.item_id] = _progressed(item, index)
            case ActionFailed():
                pass  # what it leads to comes with RunEnded
            case RunEnded() as body:
                if lease.revoked:
                    work.leases[lease.lease_id] = stopped(lease)
                elif current and _in_vain(work, item, report, body):
                    end_expired(work, item, lease, run)
                elif current:
                    _charge(work, item, lease, body.failure)
                    end_run(work, item, lease, run, body, policy=self._policy, chance=self._chance)
            case RunRefused(reason=reason):
                if lease.revoked:
                    work.leases[lease.lease_id] = stopped(lease)
                elif current and item.state is ItemState.CLAIMED:
                    log.info("run.refused", run_id=run.run_id, item_id=item.item_id, reason=reason)
                    if is_refused_for_the_phone(reason):
                        work.charge(lease, Blame.SET_UP, reason.partition(":")[0], reason)
                    refuse_run(work, item, lease, run, reason=reason)
                elif current:
                    # It asked at the gate and died before it wrote that down: nothing was done.
                    message = f"the agent lost the run after the start gate: {reason}"
                    body = lost_run(FailureCode.RUN_CRASHED, message)
                    end_run(work, item, lease, run, body, policy=self._policy, chance=self._chance)
            case PhoneReleased() as body:
                release(work, lease, body)

    async def _collect_outputs(self, work: UnitOfWork) -> None:
        """Give each item that has just become DONE what its actions brought."""
        fresh = [
            item
            for item in changed(work.items_before, work.items)
            if item.state is ItemState.DONE and item.run_id is not None
        ]
        if not fresh:
            return
        kept = await runs.done_actions_of(work.tx, {item.run_id or "" for item in fresh})
        for item in fresh:
            bodies = [json.loads(body) for body in kept.get(item.run_id or "", ())]
            steps = [(body["kind"], body["outputs"]) for body in bodies]
            work.items[item.item_id] = replaced(item, outputs=outputs_of(item.capability, steps))


def _in_vain(work: UnitOfWork, item: Item, report: Report, body: RunEnded) -> bool:
    """Tell whether the run was stopped behind its deadline without ever having heard `go`."""
    nothing_done = report.sequence == 1 and body.outcome is RunOutcome.STOPPED
    return nothing_done and item.cancel is None and item.deadline_at < work.tx.now


def _progressed(item: Item, index: int) -> Item:
    done_here = max(item.actions_done, min(index + 1, item.actions_total))
    if index in item.once_actions:
        finished = tuple(sorted({*item.once_done, index}))
        return replaced(item, actions_done=done_here, once_started=None, once_done=finished)
    return item if done_here == item.actions_done else replaced(item, actions_done=done_here)


def _is_its_run(work: UnitOfWork, ref: RunRef, agent_id: str) -> bool:
    """Tell whether the run is known under this lease and epoch, and is this agent's."""
    lease, run = work.leases.get(ref.lease_id), work.runs.get(ref.run_id)
    if lease is None or run is None or lease.agent_id != agent_id:
        return False
    named = (ref.run_id, ref.item_id, ref.epoch)
    return (lease.run_id, lease.item_id, lease.epoch) == named and lease.item_id in work.items


def _charge(work: UnitOfWork, item: Item, lease: Lease, failure: Failure | None) -> None:
    """Charge the phone with how its run ended, when it may be to blame for that.

    A golden job asks nothing of a phone but to work: where its plan fails, the phone did, unless
    the executor cannot follow it.
    """
    if failure is None:
        return
    by_plan = (
        failure.failure_class is FailureClass.WORK and failure.code != FailureCode.PLAN_INVALID
    )
    if is_the_phones(failure) or (item.golden and by_plan):
        if item.golden:
            work.unproved.add(lease.run_id)
        work.charge(lease, Blame.INFRA, failure.code, failure.message)


def _is_current(work: UnitOfWork, ref: RunRef) -> bool:
    """Tell whether the run is the attempt that its item is at, and still holds its lease."""
    item = work.items[ref.item_id]
    return (
        item.is_attempt(attempt=ref.attempt, lease_id=ref.lease_id, epoch=ref.epoch)
        and item.state in ITEM_ACTIVE
        and work.leases[ref.lease_id].state is LeaseState.LIVE
    )


def _harmless(work: UnitOfWork, report: Report) -> int:
    """Return how far a run that was taken from its phone, and may not know it, may be acknowledged.

    A `once` action begins with its acknowledgement, and the item may be on its way elsewhere.
    """
    item, body = work.items[report.run.item_id], report.body
    begins = isinstance(body, ActionStarted) and body.index in item.once_actions
    return report.sequence - 1 if begins else report.sequence


def _row(report: Report, *, late: bool, now: datetime) -> tuple[object, ...]:
    """Return the values of a kept line, in the order of `runs.RESULT`."""
    ref, body = report.run, report.body
    text = _encode(body.__dict__)
    return (ref.run_id, ref.epoch, report.sequence, _KINDS[type(body)], text, late, now)


def _ack(work: UnitOfWork, report: Report) -> Ack:
    run = work.runs.get(report.run.run_id)
    known = run is not None and run.agent_id == report.agent_id
    taken = run.last_sequence if run is not None and known else report.sequence
    lease = work.leases.get(report.run.lease_id)
    if lease is not None and lease.revoked:
        taken = min(taken, _harmless(work, report))
    return Ack(run_id=report.run.run_id, epoch=report.run.epoch, sequence=taken)
