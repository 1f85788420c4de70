"""The lease reaper: watches leases on its own monotonic clock and ends those that stay silent.

No wall clock is read and no two machines' clocks are compared: a lease is expired when this reaper
has itself seen the same renewal counter for the whole TTL, and overrun when it has seen the run go
on for longer than the lease may be kept. A new reaper starts from zero.
"""

from dataclasses import dataclass

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.states import LeaseState, RunState
from phonefarm_controller.runs.lease_expiry import LeaseExpiry
from phonefarm_controller.store import leases, runs
from phonefarm_controller.store.database import Database

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class HeldLease:
    """A lease, and whether its run has passed the start gate."""

    lease: Lease
    started: bool


@uninterrupted
async def held_leases(database: Database) -> list[HeldLease]:
    """Return every lease that keeps a phone, as of now."""
    async with database.reading() as tx:
        held = await leases.held(tx)
        known = await runs.get(tx, {lease.run_id for lease in held})
    return [
        HeldLease(lease=lease, started=known[lease.run_id].state is not RunState.CLAIMED)
        for lease in held
    ]


@dataclass(frozen=True, kw_only=True)
class _LeaseProgress:
    """The progress of a lease; equal values mean that nobody renewed it in between."""

    state: LeaseState
    renewals: int
    started: bool


class LeaseReaper:
    """Remembers since when each lease has not changed."""

    def __init__(
        self, *, database: Database, expiry: LeaseExpiry, timers: Timers, clock: Clock
    ) -> None:
        self._database = database
        self._expiry = expiry
        self._timers = timers
        self._clock = clock
        self._renewals: dict[str, tuple[_LeaseProgress, float]] = {}
        self._phases: dict[str, tuple[tuple[LeaseState, bool, bool], float]] = {}

    async def check(self) -> None:
        """Check every lease that keeps a phone, once."""
        seen = await held_leases(self._database)
        now = self._clock.monotonic()
        held = {watched.lease.lease_id for watched in seen}
        for memory in (self._renewals, self._phases):
            for gone in memory.keys() - held:
                del memory[gone]
        for watched in seen:
            try:
                await self._judge(watched, now)
            except DatabaseBusyError:
                raise
            except Exception:
                # What keeps one lease from ending must not keep the others.
                log.exception("lease.not_checked", lease_id=watched.lease.lease_id)

    async def _judge(self, watched: HeldLease, now: float) -> None:
        lease = watched.lease
        key = lease.lease_id
        silent = self._unchanged_renewals(lease, watched, now)
        waiting = self._unchanged_phase(lease, watched, now)
        match lease.state:
            case LeaseState.LIVE if silent >= self._timers.lease_ttl:
                await self._expiry.expire(key, renewals=lease.renewals)
            case LeaseState.LIVE if not watched.started and waiting >= self._timers.start:
                await self._expiry.void(key)
            case LeaseState.LIVE if waiting >= lease.most_seconds:
                await self._expiry.overrun(key)
            # Its run may still act, until its agent has had the time to fence itself.
            case LeaseState.RELEASING if lease.revoked and waiting < self._timers.lease_ttl:
                pass
            case LeaseState.RELEASING if waiting >= self._timers.clean_up:
                await self._expiry.give_up_clean_up(key)
            case _:
                pass

    def _unchanged_renewals(self, lease: Lease, watched: HeldLease, now: float) -> float:
        progress = _LeaseProgress(
            state=lease.state, renewals=lease.renewals, started=watched.started
        )
        before = self._renewals.get(lease.lease_id)
        if before is None or before[0] != progress:
            self._renewals[lease.lease_id] = (progress, now)
            return 0.0
        return now - before[1]

    def _unchanged_phase(self, lease: Lease, watched: HeldLease, now: float) -> float:
        phase = (lease.state, watched.started, lease.revoked)
        before = self._phases.get(lease.lease_id)
        if before is None or before[0] != phase:
            self._phases[lease.lease_id] = (phase, now)
            return 0.0
        return now - before[1]
