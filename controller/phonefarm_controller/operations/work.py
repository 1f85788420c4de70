"""One batch of moves: what it read under lock, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from phonefarm_controller.domain.items import Item
from phonefarm_controller.domain.leases import Lease
from phonefarm_controller.domain.processes import Process
from phonefarm_controller.domain.states import Health
from phonefarm_controller.operations.sync import sync
from phonefarm_controller.store import accounts, items, leases, phones, processes, runs
from phonefarm_controller.store.database import Transaction

_T = TypeVar("_T")

DIRTY = "dirty: "
"""How the health reason of a phone begins that was withheld because nobody confirmed it clean."""


class Work:
    """The rows one batch touches, read under lock, and what they become."""

    def __init__(
        self,
        *,
        tx: Transaction,
        items_before: dict[str, Item],
        leases_before: dict[str, Lease],
        runs_before: dict[str, runs.Run],
    ) -> None:
        self.tx = tx
        self.items_before, self.items = items_before, dict(items_before)
        self.leases_before, self.leases = leases_before, dict(leases_before)
        self.runs_before, self.runs = runs_before, dict(runs_before)
        self.quarantined: dict[str, str] = {}  # phone id -> why
        self.cleaned: set[str] = set()  # phone ids
        self.attention: dict[str, str] = {}  # account id -> why
        self.actors: dict[str, str] = {}  # item id -> who moves it, if not the transaction's actor

    async def save(self, locked: dict[str, Process]) -> None:
        """Write what changed, in the order of the locks, and sync the processes."""
        moved_items = changed(self.items_before, self.items)
        await items.save(self.tx, self.items_before, moved_items, actors=self.actors)
        if self.quarantined or self.cleaned:
            await self._save_phones()
        for account_id in sorted(self.attention):
            reason = self.attention[account_id]
            await accounts.needs_attention(self.tx, account_id, reason=reason)
        await leases.save(self.tx, self.leases_before, changed(self.leases_before, self.leases))
        await runs.save(self.tx, self.runs_before, changed(self.runs_before, self.runs))
        moved = {item.process_id for item in changed(self.items_before, self.items)}
        await sync(self.tx, {key: process for key, process in locked.items() if key in moved})

    async def _save_phones(self) -> None:
        known = await phones.lock(self.tx, {*self.quarantined, *self.cleaned})
        after = []
        for phone in known.values():
            why = self.quarantined.get(phone.phone_id)
            if why is not None and phone.health is not Health.RETIRED:
                after.append(
                    replace(phone, health=Health.QUARANTINED, health_reason=f"{DIRTY}{why}")
                )
            elif phone.health is Health.QUARANTINED and phone.health_reason.startswith(DIRTY):
                after.append(replace(phone, health=Health.GOOD, health_reason=""))
        await phones.save(self.tx, after)


async def open_work(tx: Transaction, lease_ids: set[str]) -> tuple[Work, dict[str, Process]]:
    """Lock what hangs on these leases, in the one order, and read it."""
    named = await leases.get(tx, lease_ids)
    locked = await processes.lock(tx, {lease.process_id for lease in named.values()})
    before = await items.lock(tx, {lease.item_id for lease in named.values()})
    held = await leases.get(tx, named)  # again: now nobody else moves them
    old_runs = await runs.get(tx, {lease.run_id for lease in held.values()})
    return Work(tx=tx, items_before=before, leases_before=held, runs_before=old_runs), locked


def changed(before: Mapping[str, _T], after: Mapping[str, _T]) -> list[_T]:
    """Return the values that were replaced."""
    return [value for key, value in after.items() if value is not before[key]]
