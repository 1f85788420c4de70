"""Take what agents report of runs: progress, endings, released phones. Fenced and idempotent."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import structlog

from phonefarm_controller.domain.failures import Policy
from phonefarm_controller.domain.items import Item
from phonefarm_controller.domain.leases import Lease
from phonefarm_controller.domain.outcomes import outputs_of
from phonefarm_controller.domain.reports import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    PhoneReleased,
    Report,
    RunEnded,
    RunRefused,
)
from phonefarm_controller.domain.states import ITEM_WAITING, ItemState, LeaseState
from phonefarm_controller.operations.endings import end_run, refuse_run, release
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.operations.work import Work, changed, open_work
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import runs
from phonefarm_controller.store.database import Database

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Ack:
    """Every record of the run up to *sequence* is kept or known to be of no use."""

    run_id: str
    epoch: int
    sequence: int


class TakeReports:
    """Takes records of many runs at once."""

    def __init__(
        self,
        *,
        database: Database,
        policy: Policy,
        hints: Hints,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._policy = policy
        self._hints = hints
        self._chance = chance

    @whole
    async def __call__(self, batch: Sequence[Report]) -> list[Ack]:
        """Return for each record how far its run's records are taken, in order; committed."""
        async with self._database.writing() as tx:
            work, locked = await open_work(tx, {report.run.lease_id for report in batch})
            kept = [row for report in batch if (row := self._take(work, report)) is not None]
            await runs.keep_results(tx, kept)
            await self._collect_outputs(work)
            await work.save(locked)
            acks: list[Ack] = [_ack(work, report) for report in batch]
        self._hints.deliveries()
        if work.quarantined or work.cleaned or work.attention:
            self._hints.fleet_changed()
        else:
            self._hints.work.give()
        if any(item.state in ITEM_WAITING for item in changed(work.items_before, work.items)):
            self._hints.clockwork.give()  # its back-off may end before anything else is due
        return acks

    def _take(self, work: Work, report: Report) -> dict[str, object] | None:
        """Apply one record; return the row to keep, None for a repeat, a gap or a stranger."""
        ref = report.run
        lease, item = work.leases.get(ref.lease_id), work.items.get(ref.item_id)
        run = work.runs.get(ref.run_id)
        if lease is None or item is None or run is None:
            log.warning("report.unknown_run", run_id=ref.run_id, agent_id=report.agent_id)
            return None
        if (lease.run_id, lease.item_id, lease.epoch) != (ref.run_id, ref.item_id, ref.epoch) or (
            lease.agent_id != report.agent_id
        ):
            log.warning("report.refused", run_id=ref.run_id, agent_id=report.agent_id)
            return None
        endings = isinstance(report.body, RunEnded | RunRefused | PhoneReleased)
        if report.sequence > run.last_sequence + 1 and not endings:
            return None  # a gap: not acknowledged, so it comes again in order
        current = (
            item.is_attempt(attempt=ref.attempt, lease_id=ref.lease_id, epoch=ref.epoch)
            and item.state in {ItemState.CLAIMED, ItemState.EXECUTING}
            and lease.state is LeaseState.LIVE
        )
        repeat = report.sequence <= run.last_sequence
        if not repeat or endings:  # endings look at the state, so that a repeat is harmless
            self._apply(work, report, item, lease, run, current=current)
        if repeat:
            return None
        run = work.runs[ref.run_id]
        work.runs[ref.run_id] = replace(run, last_sequence=report.sequence)
        return {
            "run_id": ref.run_id,
            "epoch": ref.epoch,
            "sequence": report.sequence,
            "kind": _kind(report),
            "body": json.dumps(asdict(report.body)),
            "late": not current and not isinstance(report.body, PhoneReleased),
            "received_at": work.tx.now,
        }

    def _apply(
        self, work: Work, report: Report, item: Item, lease: Lease, run: runs.Run, *, current: bool
    ) -> None:
        match report.body:
            case ActionStarted(index=index, kind=kind):
                if current and index in item.once_actions:
                    work.items[item.item_id] = replace(item, once_started=kind)
            case ActionDone(index=index):
                if current:
                    work.items[item.item_id] = _progressed(item, index)
            case ActionFailed():
                pass  # what it leads to comes with RunEnded
            case RunEnded() as body:
                if current:
                    end_run(work, item, lease, run, body, policy=self._policy, chance=self._chance)
            case RunRefused(reason=reason):
                if current and item.state is ItemState.CLAIMED:
                    log.info("run.refused", run_id=run.run_id, item_id=item.item_id, reason=reason)
                    refuse_run(work, item, lease, run, reason=reason)
            case PhoneReleased() as body:
                release(work, lease, body)

    async def _collect_outputs(self, work: Work) -> None:
        """Give each item that has just become DONE what its actions brought."""
        fresh = [
            item
            for item in changed(work.items_before, work.items)
            if item.state is ItemState.DONE and item.run_id is not None
        ]
        if not fresh:
            return
        results = await runs.results_of(work.tx, {item.run_id or "" for item in fresh})
        for item in fresh:
            kept = results.get(item.run_id or "", [])
            bodies = [json.loads(body) for kind, body in kept if kind == "action_done"]
            steps = [(body["kind"], body["outputs"]) for body in bodies]
            work.items[item.item_id] = replace(item, outputs=outputs_of(item.capability, steps))


def _progressed(item: Item, index: int) -> Item:
    done_here = max(item.actions_done, min(index + 1, item.actions_total))
    if index not in item.once_actions:
        return replace(item, actions_done=done_here)
    finished = tuple(sorted({*item.once_done, index}))
    return replace(item, actions_done=done_here, once_started=None, once_done=finished)


def _kind(report: Report) -> str:
    name = type(report.body).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _ack(work: Work, report: Report) -> Ack:
    run = work.runs.get(report.run.run_id)
    known = run is not None and run.agent_id == report.agent_id
    taken = run.last_sequence if run is not None and known else report.sequence
    return Ack(run_id=report.run.run_id, epoch=report.run.epoch, sequence=taken)
