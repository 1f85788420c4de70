"""Heal: what time changes of phones and hosts. Rests, suspicions, quarantines, incidents end."""

from datetime import datetime, timedelta

import structlog
from phonefarm_common.identity import new_id

from phonefarm_controller.domain.health import HealthPolicy, expired
from phonefarm_controller.domain.transitions import CONTROLLER
from phonefarm_controller.operations.judging import PHONES_FAILING, tell
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import hosts, phones, profiles
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.hosts import Open
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()


class Heal:
    """Ends what is due by the database's clock."""

    def __init__(self, *, database: Database, policy: HealthPolicy, hints: Hints) -> None:
        self._database = database
        self._policy = policy
        self._hints = hints

    @whole
    async def __call__(self, *, tenure: Tenure | None = None) -> float | None:
        """End what is due; return the seconds until something is due next, None for never."""
        async with self._database.reading() as tx:
            due = await self._next(tx)
            now = tx.now
        if due is None or due > now:
            return None if due is None else (due - now).total_seconds()
        async with owning(self._database, tenure) as tx:
            before = await phones.lock_changed_by_time(tx)
            after = [
                phone.judged(expired(phone.verdict, policy=self._policy, now=tx.now))
                for phone in before
            ]
            await phones.save(tx, after)
            for was, phone in zip(before, after, strict=True):
                await tell(tx, was, phone.verdict)
            for each in await self._incidents(tx):
                if self._ends(each) <= tx.now:
                    await _end(tx, each)
            due, now = await self._next(tx), tx.now
        self._hints.fleet_changed()
        return None if due is None else (due - now).total_seconds()

    async def _next(self, tx: Transaction) -> datetime | None:
        moments = [self._ends(each) for each in await self._incidents(tx)]
        change = await phones.next_change(tx)
        return min([*moments, *([] if change is None else [change])], default=None)

    async def _incidents(self, tx: Transaction) -> list[Open]:
        """Return those that the controller saw; an agent ends its own."""
        return [e for e in await hosts.open_of(tx) if e.incident.kind == PHONES_FAILING]

    def _ends(self, each: Open) -> datetime:
        return min(
            each.last_at + timedelta(seconds=self._policy.host_quiet),
            each.incident.began_at + timedelta(seconds=self._policy.host_most),
        )


async def _end(tx: Transaction, each: Open) -> None:
    await hosts.end(tx, each.agent_id, [each.incident.incident_id])
    log.info("host.incident_ended", agent_id=each.agent_id, kind=each.incident.kind)
    await profiles.note(
        tx,
        audit_id=new_id(),
        actor=CONTROLLER,
        verb="end host incident",
        subject=each.agent_id,
        reason=f"{each.incident.kind}: {len(each.incident.phones)} phones in all failed",
    )
