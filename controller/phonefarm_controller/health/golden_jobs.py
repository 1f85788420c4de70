"""Golden jobs: small harmless runs that show whether a phone can work."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from phonefarm_common.ids import new_id
from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_controller.capabilities.planners import golden_job
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.items import GOLDEN
from phonefarm_controller.processes.creation import ProcessSpec, insert_processes, new_process
from phonefarm_controller.processes.targets import Slot
from phonefarm_controller.store import accounts, agents, leases, phones, queue
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.loop_leases import Tenure, owning

SYSTEM: Final = "phonefarm"
"""The `requested_by.system` of golden jobs."""
CHECK_SECONDS: Final = 60.0
MOST_AT_ONCE: Final = 8
"""Each check starts golden jobs on at most this many phones, so that no host has only them."""
LOOKS_BETWEEN: Final = 10
"""If a golden job showed nothing about a phone, the phone gets another after this many checks."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class GoldenJobs:
    """Creates golden jobs: each has one item and no account; only holds come before them.

    *every*: each phone gets one so often, when it is free; None for never, and for none before a
    phone comes back from quarantine. *look* is in seconds, by *monotonic*.
    """

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        every: timedelta | None,
        wakeups: WakeUps,
        monotonic: Callable[[], float],
        interval: float = CHECK_SECONDS,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self.every = every
        self._database = database
        self._profiles = profiles
        self._wakeups = wakeups
        self._monotonic = monotonic
        self._interval = interval
        self._ids = ids
        self._next_check = monotonic()

    async def apps(self, tx: Transaction, phone_ids: Iterable[str]) -> dict[str, str]:
        """Return the app of each phone that could pass one: a run looks whether it is installed."""
        if self.every is None:
            return {}
        return await accounts.apps_on(tx, phone_ids, self._profiles)

    async def make(self, tx: Transaction, apps: Mapping[str, str]) -> list[str]:
        """Make one for each of these phones that has none open; return the phones that got one.

        Waiting for its phone it ends when the next is due.
        """
        there = {e.phone_id for e in await queue.open_phone_only(tx, list(apps)) if not e.by_hand}
        fresh = [phone_id for phone_id in sorted(apps) if phone_id not in there]
        if self.every is None or not fresh:
            return []
        new = [
            new_process(
                ProcessSpec(
                    process_type=GOLDEN,
                    request_id=None,
                    system=SYSTEM,
                    target_json=json.dumps({"routing": "direct", "phone_id": phone_id}),
                    ready_at=tx.now,
                ),
                golden_job.plan(),
                [
                    (
                        Slot(app=apps[phone_id], phone_id=phone_id),
                        self._profiles[apps[phone_id]].version,
                    )
                ],
                now=tx.now,
                max_wait=self.every.total_seconds(),
                ids=self._ids,
            )
            for phone_id in fresh
        ]
        await insert_processes(tx, new)
        return fresh

    @uninterrupted
    async def __call__(self, *, tenure: Tenure | None = None) -> list[str]:
        """Make one for free phones that had none for so long; return the phones that got one.

        It looks once in a while, however often it is called.
        """
        if self.every is None or self._monotonic() < self._next_check:
            return []
        self._next_check = self._monotonic() + self._interval
        async with self._database.reading() as tx:
            due = await self._due(tx, self.every)
        if not due:
            return []
        async with owning(self._database, tenure) as tx:
            await phones.lock(tx, due)  # so that nobody else makes one for them
            made = await self.make(tx, due)
        if made:
            self._wakeups.work_made()
        return made

    async def _due(self, tx: Transaction, every: timedelta) -> dict[str, str]:
        """Return the app of phones that are due, some of them when they are many.

        None of those that somebody holds, or waits to hold, and none of a host that is away.
        """
        again = tx.now - timedelta(seconds=LOOKS_BETWEEN * self._interval)
        last = await queue.golden_jobs_since(tx, tx.now - every)
        busy = (await leases.busy(tx)).phones
        known = [
            phone
            for phone in await phones.all_of(tx)
            if phone.may_prove(tx.now)
            and (phone.transport, phone.readiness) == (Transport.ONLINE, Readiness.READY)
            and phone.phone_id not in busy
            # The last one of a phone that must pass one may have ended for its host's sake.
            and (
                phone.phone_id not in last
                or (phone.verdict.proving and last[phone.phone_id] < again)
            )
        ]
        hosts = await agents.get(tx, {phone.agent_id for phone in known})
        there = {e.phone_id for e in await queue.open_phone_only(tx, [p.phone_id for p in known])}
        free = [
            phone
            for phone in known
            if phone.phone_id not in there
            and (host := hosts.get(phone.agent_id)) is not None
            and host.connected
            and not host.drain
        ]
        apps = await self.apps(tx, [phone.phone_id for phone in free])
        # Who must pass one first, then whose last is longest ago.
        turns = sorted(
            (not phone.verdict.proving, last.get(phone.phone_id, _NEVER), phone.phone_id)
            for phone in free
            if phone.phone_id in apps
        )
        return {phone_id: apps[phone_id] for *_, phone_id in turns[:MOST_AT_ONCE]}
