"""Runs a loop on one controller of several: its owner is elected by a lease row with a term.

No clock of two machines is compared: an owner is dead when this controller has itself seen the same
counter for the whole time. What a former owner still writes is refused by its term (`store`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_controller.alarms import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import loop_leases
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.loop_leases import LoopLease, Tenure

log = structlog.get_logger()

Body = Callable[[Tenure | None], Coroutine[None, None, None]]
"""A loop that runs until cancelled; it writes under the tenure it is given."""


class LoopOwnership:
    """Takes, keeps and leaves loops for one controller."""

    def __init__(self, *, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    @whole
    async def look(self, loop: str) -> LoopLease | None:
        """Return who has the loop; None: nobody ever had."""
        async with self._database.reading() as tx:
            return await loop_leases.get(tx, loop)

    @whole
    async def take(self, loop: str, *, seen: LoopLease | None) -> Tenure | None:
        """Begin a term; None when its owner was heard since it was *seen*, or another was first."""
        async with self._database.writing() as tx:
            return await loop_leases.take_if_unchanged(tx, loop, seen=seen, owner=self._owner)

    @whole
    async def beat(self, tenure: Tenure) -> bool:
        """Show that we live; False when the loop is another's."""
        async with self._database.writing() as tx:
            return await loop_leases.beat_if_owned(tx, tenure)

    @whole
    async def leave(self, tenure: Tenure) -> None:
        """Give the loop up, if we still have it."""
        async with self._database.writing() as tx:
            await loop_leases.leave_if_owned(tx, tenure)


async def run_elected(
    loop: str, body: Body, *, own: LoopOwnership, timers: Timers, clock: Clock, pulse: Pulse
) -> None:
    """Wait for the loop, run it while it is ours, and wait again, until cancelled."""
    while True:
        tenure = await _won(loop, own=own, timers=timers, clock=clock, pulse=pulse)
        log.info("leadership.won", loop=loop, term=tenure.term)
        await _served(tenure, body, own=own, timers=timers, pulse=pulse)
        log.warning("leadership.lost", loop=loop, term=tenure.term)


async def _won(
    loop: str, *, own: LoopOwnership, timers: Timers, clock: Clock, pulse: Pulse
) -> Tenure:
    seen: LoopLease | None = None
    since = clock.monotonic()
    while True:
        pulse.beat()
        with enduring(f"election of {loop}"):
            found = await own.look(loop)
            now = clock.monotonic()
            if found != seen:
                seen, since = found, now
            if found is None or not found.owner or now - since >= timers.loop_lapse:
                tenure = await own.take(loop, seen=found)
                if tenure is not None:
                    return tenure
        await asyncio.sleep(timers.loop_beat)


async def _served(
    tenure: Tenure, body: Body, *, own: LoopOwnership, timers: Timers, pulse: Pulse
) -> None:
    """Run the loop until it is another's; cancelled, leave it to whoever comes next."""
    work = asyncio.create_task(body(tenure), name=tenure.loop)
    try:
        while True:
            pulse.beat()
            done, _ = await asyncio.wait({work}, timeout=timers.loop_beat)
            if done:
                work.result()
            with enduring(tenure.loop):
                if not await own.beat(tenure):
                    return
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        with suppress(DatabaseBusyError):
            await own.leave(tenure)
