"""Halt: stop what runs in a scope and give it back to the queue, because it was paused."""

from dataclasses import replace
from typing import Final

import structlog
from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.model.items import Cancel, CancelStrategy
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.run_reports import stop_of
from phonefarm_controller.model.states import ITEM_ACTIVE, LeaseState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.runs.unit_of_work import open_work
from phonefarm_controller.store import audit, pauses
from phonefarm_controller.store.database import Database

log = structlog.get_logger()

BATCH: Final = 200
FORCE_AFTER_SECONDS: Final = 30.0
"""How long a run has to end between its actions."""


class Halt:
    """Stops runs, gently first. Each ends as its agent says; its item waits again, uncharged."""

    def __init__(self, *, database: Database, sessions: Sessions, hints: Hints) -> None:
        self._database = database
        self._sessions = sessions
        self._hints = hints

    @whole
    async def __call__(self, scope: PauseScope, name: str, *, actor: str, reason: str) -> int:
        """Tell every run in the scope to end; return how many were told.

        The scope is paused already, so nothing of it begins meanwhile. What a caller has cancelled
        is left to that.
        """
        async with self._database.writing() as tx:
            found = await pauses.leases_in(tx, scope, name)
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="stop",
                subject=f"{scope} {name}".strip(),
                reason=f"{len(found)} runs: {reason}",
            )
        wish = Cancel(
            reason=f"by {actor}: {reason}",
            strategy=CancelStrategy.SOFT_THEN_FORCE,
            force_after_seconds=FORCE_AFTER_SECONDS,
            give_back=True,
        )
        told = 0
        for first in range(0, len(found), BATCH):
            told += await self._halt(found[first : first + BATCH], wish, actor)
        log.warning("work.halted", scope=str(scope), name=name, runs=told, actor=actor)
        return told

    async def _halt(self, lease_ids: list[str], wish: Cancel, actor: str) -> int:
        async with self._database.writing(actor=by_operator(actor)) as tx:
            work, locked = await open_work(tx, set(lease_ids))
            stops = []
            for lease in work.leases.values():
                item = work.items[lease.item_id]
                current = item.lease_id == lease.lease_id and item.state in ITEM_ACTIVE
                if lease.state is LeaseState.LIVE and current and item.cancel is None:
                    work.items[item.item_id] = replace(item, cancel=wish)
                    stops.append(stop_of(work.items[item.item_id], lease.agent_id))
            await work.save(locked)
        self._hints.orders_made(self._sessions.send(stops))
        return len(stops)
