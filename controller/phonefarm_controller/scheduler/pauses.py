"""Pauses: operators stop new runs for some work, and can also stop current runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, assert_never

import structlog
from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.capabilities.catalog import CAPABILITIES
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.items import GOLDEN, Cancellation, CancelStrategy
from phonefarm_controller.model.pauses import Pause, PauseScope, WaitingWork
from phonefarm_controller.model.run_reports import stop_of
from phonefarm_controller.model.states import ITEM_ACTIVE, LeaseState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.runs.unit_of_work import open_unit_of_work
from phonefarm_controller.store import accounts, audit, pauses
from phonefarm_controller.store.database import Database, Transaction

log = structlog.get_logger()

LONGEST_REASON: Final = 500
BATCH: Final = 200
FORCE_AFTER_SECONDS: Final = 30.0
"""A run has this long to stop between two actions; after that it is stopped by force."""
SOON: Final = timedelta(hours=24)
"""A pause reports the callers' deadlines that are within this time."""


class Pauses:
    """Pauses work, resumes it, and stops the runs of a paused scope."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        wakeups: WakeUps,
        known_profiles: Mapping[str, Profile],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._wakeups = wakeups
        self._profiles = known_profiles

    @uninterrupted
    async def all(self) -> list[Pause]:
        """Return every pause, by scope and name."""
        async with self._database.reading() as tx:
            return await pauses.all_of(tx)

    @uninterrupted
    async def pause(self, scope: PauseScope, name: str, *, actor: str, reason: str) -> Pause:
        """Let nothing in the scope begin, until it is resumed; repeating it renews its reason.

        Deadlines that callers gave go on; the farm's own limit of waiting stands still meanwhile.
        What is claimed and has not passed the start gate goes back to the queue; what runs goes on.
        FarmError for a name nobody knows, or a missing reason.
        """
        if not 0 < len(reason.strip()) <= LONGEST_REASON:
            message = (
                f"must have 1 to {LONGEST_REASON} characters; everybody who asks why work is "
                "waiting can read the reason"
            )
            raise invalid_field("reason", message)
        async with self._database.writing() as tx:
            await self._check_name(tx, scope, name)
            pause = await pauses.put(
                tx, Pause(scope=scope, name=name, since=tx.now, by=actor, reason=reason.strip())
            )
            await _note(tx, actor, "pause", _what(scope, name), reason)
        self._wakeups.fleet_changed()
        return pause

    @uninterrupted
    async def waiting(self, scope: PauseScope, name: str) -> WaitingWork:
        """Count what waits in the scope, and the callers' deadlines within `SOON`."""
        async with self._database.reading() as tx:
            return await pauses.waiting_in(tx, scope, name, soon=SOON)

    @uninterrupted
    async def resume(self, scope: PauseScope, name: str, *, actor: str, reason: str = "") -> bool:
        """End a pause; return whether there was one. Other pauses stay.

        The deadlines that the farm has set move by the time that the pause has taken.
        """
        async with self._database.writing() as tx:
            ended = await pauses.end(tx, scope, name)
            if ended:
                await _note(tx, actor, "resume", _what(scope, name), reason)
        if ended:
            self._wakeups.fleet_changed()
        return ended

    @uninterrupted
    async def stop_running(self, scope: PauseScope, name: str, *, actor: str, reason: str) -> int:
        """Order every run in the scope to stop; return how many there were.

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
        wish = Cancellation(
            reason=f"by {actor}: {reason}",
            strategy=CancelStrategy.SOFT_THEN_FORCE,
            force_after_seconds=FORCE_AFTER_SECONDS,
            give_back=True,
        )
        told = 0
        for first in range(0, len(found), BATCH):
            told += await self._stop(found[first : first + BATCH], wish, actor)
        log.warning("runs.stopped", scope=str(scope), name=name, runs=told, actor=actor)
        return told

    async def _stop(self, lease_ids: list[str], wish: Cancellation, actor: str) -> int:
        async with self._database.writing(actor=by_operator(actor)) as tx:
            work, locked = await open_unit_of_work(tx, set(lease_ids))
            stops = []
            for lease in work.leases.values():
                item = work.items[lease.item_id]
                current = item.lease_id == lease.lease_id and item.state in ITEM_ACTIVE
                if lease.state is LeaseState.LIVE and current and item.cancel is None:
                    work.items[item.item_id] = replace(item, cancel=wish)
                    stops.append(stop_of(work.items[item.item_id], lease.agent_id))
            await work.save(locked)
        self._wakeups.orders_made(self._sessions.send(stops))
        return len(stops)

    async def _check_name(self, tx: Transaction, scope: PauseScope, name: str) -> None:
        known: Sequence[str]
        match scope:
            case PauseScope.ALL:
                known = [""]
            case PauseScope.APP:
                known = sorted(self._profiles)
            case PauseScope.CAPABILITY:
                known = sorted([*CAPABILITIES, GOLDEN])
            case PauseScope.ACCOUNT:
                found = await accounts.named_or_on(tx, {name}, set())
                known = [account.account_id for account in found]
            case _:
                assert_never(scope)
        if name not in known:
            which = f"; known: {', '.join(known)}" if any(known) else ""
            raise invalid_field("name", f"is not the name of a known {scope}{which}")


async def pause_at_start(database: Database) -> None:
    """Pause all work, before this controller's loops start; a pause that is there stays."""
    started = "phonefarm-controller --paused"
    reason = "the controller was started with --paused; `phonefarm resume --all` ends the pause"
    async with database.writing() as tx:
        if any(pause.scope is PauseScope.ALL for pause in await pauses.all_of(tx)):
            return
        pause = Pause(scope=PauseScope.ALL, name="", since=tx.now, by=started, reason=reason)
        await pauses.put(tx, pause)
        await _note(tx, started, "pause", _what(PauseScope.ALL, ""), reason)
    log.warning("work.paused", reason=reason)


async def _note(tx: Transaction, actor: str, verb: str, what: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=actor, verb=verb, subject=what, reason=reason.strip()
    )


def _what(scope: PauseScope, name: str) -> str:
    return f"{scope} {name}".strip()
