"""Leader election: one controller of several runs a loop, elected by a lease row with a term.

No clocks of two machines are compared: an owner is dead when this controller has itself seen the
same counter for the whole time. Writes of a former owner are refused by its term (`store`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import loop_leases
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import LoopLease, Tenure

log = structlog.get_logger()

Body = Callable[[Tenure | None], Coroutine[None, None, None]]
"""A loop that runs until it is cancelled; it writes under the tenure that it is given."""


class LoopOwnership:
    """Takes, keeps and gives up loops for one controller."""

    def __init__(self, *, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    @uninterrupted
    async def get(self, loop: str) -> LoopLease | None:
        """Return the loop's lease; None when no controller ever owned it."""
        async with self._database.reading() as tx:
            return await loop_leases.get(tx, loop)

    @uninterrupted
    async def take(self, loop: str, *, seen: LoopLease | None) -> Tenure | None:
        """Begin a term; None when the owner was heard since *seen*, or another was first."""
        async with self._database.writing() as tx:
            return await loop_leases.take_if_unchanged(tx, loop, seen=seen, owner=self._owner)

    @uninterrupted
    async def beat(self, tenure: Tenure) -> bool:
        """Renew our ownership; False when another controller owns the loop."""
        async with self._database.writing() as tx:
            return await loop_leases.beat_if_owned(tx, tenure)

    @uninterrupted
    async def leave(self, tenure: Tenure) -> None:
        """Give the loop up, if we still own it."""
        async with self._database.writing() as tx:
            await loop_leases.leave_if_owned(tx, tenure)


async def run_elected(
    loop: str,
    body: Body,
    *,
    ownership: LoopOwnership,
    timers: Timers,
    clock: Clock,
    liveness: Liveness,
) -> None:
    """Wait to be elected, run the loop while we own it, and wait again, until cancelled."""
    while True:
        tenure = await _elected(
            loop, ownership=ownership, timers=timers, clock=clock, liveness=liveness
        )
        log.info("leadership.won", loop=loop, term=tenure.term)
        await _led(tenure, body, ownership=ownership, timers=timers, liveness=liveness)
        log.warning("leadership.lost", loop=loop, term=tenure.term)


async def _elected(
    loop: str, *, ownership: LoopOwnership, timers: Timers, clock: Clock, liveness: Liveness
) -> Tenure:
    seen: LoopLease | None = None
    since = clock.monotonic()
    while True:
        liveness.beat()
        with logged_errors(f"election of {loop}"):
            found = await ownership.get(loop)
            now = clock.monotonic()
            if found != seen:
                seen, since = found, now
            if found is None or not found.owner or now - since >= timers.loop_lapse:
                tenure = await ownership.take(loop, seen=found)
                if tenure is not None:
                    return tenure
        await asyncio.sleep(timers.loop_beat)


async def _led(
    tenure: Tenure, body: Body, *, ownership: LoopOwnership, timers: Timers, liveness: Liveness
) -> None:
    """Run the loop until another controller owns it; when cancelled, give it up at once."""
    work = asyncio.create_task(body(tenure), name=tenure.loop)
    try:
        while True:
            liveness.beat()
            done, _ = await asyncio.wait({work}, timeout=timers.loop_beat)
            if done:
                work.result()
            with logged_errors(tenure.loop):
                if not await ownership.beat(tenure):
                    return
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        with suppress(DatabaseBusyError):
            await ownership.leave(tenure)
