"""Ends leases and runs that no agent reports any longer, each by compare-and-set under lock."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog
from phonefarm_common.reasons import FailureCode

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.health import Blame, HealthPolicy
from phonefarm_controller.model.items import voided
from phonefarm_controller.model.leases import (
    CLEAN_UP_UNCONFIRMED,
    LEASE_EXPIRED,
    LEASE_OVERRUN,
    Lease,
    dirty,
    releasing,
    revoked,
)
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import RunEnded
from phonefarm_controller.model.states import ItemState, LeaseState, RunState
from phonefarm_controller.runs.endings import end_unreported, hard_stop, lost_run
from phonefarm_controller.runs.unit_of_work import UnitOfWork, open_unit_of_work
from phonefarm_controller.store import agents, leases
from phonefarm_controller.store.database import Database

log = structlog.get_logger()


class LeaseExpiry:
    """Ends silent leases, late starts, endless runs and clean-ups, and runs that an agent lost."""

    def __init__(
        self,
        *,
        database: Database,
        policy: RetryPolicy,
        health: HealthPolicy,
        sessions: Sessions,
        wakeups: WakeUps,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._policy = policy
        self._health = health
        self._sessions = sessions
        self._wakeups = wakeups
        self._chance = chance

    @uninterrupted
    async def expire(self, lease_id: str, *, renewals: int) -> bool:
        """End a live lease that was not renewed since; the phone is dirty. False: it was."""
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, {lease_id})
            lease = work.leases.get(lease_id)
            if lease is None or not await leases.unrenewed(tx, lease_id, renewals=renewals):
                return False
            silence = "the agent did not answer before the lease expired"
            self._end(work, lease, lost_run(FailureCode.LEASE_EXPIRED, silence))
            work.leases[lease_id] = dirty(lease, reason=LEASE_EXPIRED)
            work.quarantined[lease.phone_id] = LEASE_EXPIRED
            await work.save(locked)
        log.warning("lease.expired", lease_id=lease_id, phone_id=lease.phone_id, run=lease.run_id)
        self._wake()
        return True

    @uninterrupted
    async def forget(self, lease_ids: Iterable[str], *, agent_id: str, term: int) -> None:
        """End runs past the start gate that their agent, back again, does not know of.

        Its phone may hold anything: the agent is told to clean it. Nothing is ended when a newer
        session than the *term* has taken over.
        """
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, set(lease_ids))
            told = []
            if (await agents.terms(tx, [agent_id])).get(agent_id) != term:
                return
            for lease in list(work.leases.values()):
                if lease.state is LeaseState.LIVE and lease.agent_id == agent_id:
                    message = "the agent restarted and no longer has this run"
                    self._end(work, lease, lost_run(FailureCode.RUN_CRASHED, message))
                    told.append(hard_stop(work, lease, "the run is over"))
            await work.save(locked)
        self._wakeups.orders_made(self._sessions.send(told))
        self._wake()

    @uninterrupted
    async def void(self, lease_id: str) -> bool:
        """Take back a claim whose run did not reach the start gate in time, uncounted."""
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, {lease_id}, health=self._health)
            lease = work.leases.get(lease_id)
            if lease is None or lease.state is not LeaseState.LIVE:
                return False
            item, run = work.items[lease.item_id], work.runs[lease.run_id]
            if item.state is not ItemState.CLAIMED or item.lease_id != lease_id:
                return False
            work.items[item.item_id] = voided(item, because="not_started_in_time", now=tx.now)
            work.leases[lease_id] = releasing(lease)
            work.runs[run.run_id] = replace(
                run, state=RunState.VOIDED, ended_at=tx.now, outcome="not started in time"
            )
            work.charge(lease, Blame.SET_UP, "start_timed_out", "it did not start in time")
            stop = hard_stop(work, lease, "not started in time")
            await work.save(locked)
        log.warning("run.voided", run_id=lease.run_id, phone_id=lease.phone_id)
        self._wakeups.orders_made(self._sessions.send([stop]))
        self._wake()
        return True

    @uninterrupted
    async def overrun(self, lease_id: str) -> bool:
        """Take the phone from a run that its agent did not end at its cap; False: it has ended.

        Phone and account wait for the agent's word, or for the time it has to fence itself.
        """
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, {lease_id})
            lease = work.leases.get(lease_id)
            if lease is None or lease.state is not LeaseState.LIVE:
                return False
            beyond = f"its agent did not end the run within {lease.most_seconds:g} s"
            self._end(work, lease, lost_run(FailureCode.LEASE_EXPIRED, beyond))
            work.leases[lease_id] = revoked(lease, reason=LEASE_OVERRUN)
            stop = hard_stop(work, lease, LEASE_OVERRUN)
            await work.save(locked)
        log.warning("lease.overrun", lease_id=lease_id, phone_id=lease.phone_id, run=lease.run_id)
        self._wakeups.orders_made(self._sessions.send([stop]))
        self._wake()
        return True

    @uninterrupted
    async def give_up_clean_up(self, lease_id: str) -> bool:
        """Withhold, as dirty, each phone whose clean-up was not confirmed in time."""
        async with self._database.writing() as tx:
            work, locked = await open_unit_of_work(tx, {lease_id}, health=self._health)
            lease = work.leases.get(lease_id)
            if lease is None or lease.state is not LeaseState.RELEASING:
                return False
            reason = CLEAN_UP_UNCONFIRMED
            work.leases[lease_id] = dirty(lease, reason=reason)
            work.quarantined[lease.phone_id] = reason
            work.charge(lease, Blame.CLEAN_UP, "clean_up_unconfirmed", reason)
            await work.save(locked)
        log.warning("phone.left_dirty", phone_id=lease.phone_id, reason=reason)
        return True

    def _end(self, work: UnitOfWork, lease: Lease, body: RunEnded) -> None:
        end_unreported(work, lease, body, policy=self._policy, chance=self._chance)

    def _wake(self) -> None:
        self._wakeups.fleet_changed()
        self._wakeups.due_times_changed()
        self._wakeups.deliveries()
