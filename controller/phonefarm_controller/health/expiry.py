"""Ends rests, suspicions, quarantines and incidents when their time is over."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from phonefarm_common.ids import new_id

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.health.assessment import PHONES_FAILING, note_health_change
from phonefarm_controller.health.golden_jobs import GoldenJobs
from phonefarm_controller.health.policy import expired
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.transitions import CONTROLLER
from phonefarm_controller.store import audit, hosts, phones
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.hosts import OpenIncident
from phonefarm_controller.store.loop_leases import Tenure, owning
from phonefarm_controller.store.phones import Phone

log = structlog.get_logger()


class HealthExpiry:
    """Ends what is due by the database's clock."""

    def __init__(
        self, *, database: Database, policy: HealthPolicy, wakeups: WakeUps, golden_jobs: GoldenJobs
    ) -> None:
        self._database = database
        self._policy = policy
        self._wakeups = wakeups
        self._golden_jobs = golden_jobs

    @uninterrupted
    async def __call__(self, *, tenure: Tenure | None = None) -> float | None:
        """End what is due; return the seconds until something is due next, None for never."""
        async with self._database.reading() as tx:
            due = await self._next(tx)
            now = tx.now
        if due is None or due > now:
            return None if due is None else (due - now).total_seconds()
        async with owning(self._database, tenure) as tx:
            before = await phones.lock_changed_by_time(tx)
            after, apps = await self._healed(tx, before)
            await phones.save(tx, after)
            proving = {phone.phone_id for phone in after if phone.verdict.proving}
            made = await self._golden_jobs.make(
                tx, {key: apps[key] for key in proving & apps.keys()}
            )
            for was, phone in zip(before, after, strict=True):
                await note_health_change(tx, was, phone.verdict)
            for each in await self._incidents(tx):
                if self._ends(each) <= tx.now:
                    await _end(tx, each)
            due, now = await self._next(tx), tx.now
        self._wakeups.fleet_changed()
        if made:
            self._wakeups.work_made()
        return None if due is None else (due - now).total_seconds()

    async def _healed(
        self, tx: Transaction, before: Sequence[Phone]
    ) -> tuple[list[Phone], dict[str, str]]:
        """Return what time makes of the phones, and the apps of those that do golden jobs."""
        apps = await self._golden_jobs.apps(tx, [phone.phone_id for phone in before])
        after = []
        for phone in before:
            proof = self._golden_jobs.every if phone.phone_id in apps else None
            verdict = expired(phone.verdict, policy=self._policy, now=tx.now, proof=proof)
            after.append(phone.judged(verdict))
        return after, apps

    async def _next(self, tx: Transaction) -> datetime | None:
        moments = [self._ends(each) for each in await self._incidents(tx)]
        change = await phones.next_change(tx)
        return min([*moments, *([] if change is None else [change])], default=None)

    async def _incidents(self, tx: Transaction) -> list[OpenIncident]:
        """Return those that the controller saw; an agent ends its own."""
        return [e for e in await hosts.open_of(tx) if e.incident.kind == PHONES_FAILING]

    def _ends(self, each: OpenIncident) -> datetime:
        return min(
            each.last_at + timedelta(seconds=self._policy.host_quiet),
            each.incident.began_at + timedelta(seconds=self._policy.host_most),
        )


async def _end(tx: Transaction, each: OpenIncident) -> None:
    await hosts.end(tx, each.agent_id, [each.incident.incident_id])
    log.info("host.incident_ended", agent_id=each.agent_id, kind=each.incident.kind)
    await audit.note(
        tx,
        audit_id=new_id(),
        actor=CONTROLLER,
        verb="end host incident",
        subject=each.agent_id,
        reason=f"{each.incident.kind}: {len(each.incident.phones)} phones failed in total",
    )
