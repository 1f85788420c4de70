"""A unit of work: rows are read under lock, changed, and written together."""

from collections.abc import Mapping
from typing import Final, TypeVar

from phonefarm_controller.health.assessment import assess
from phonefarm_controller.model.health import Blame, HealthPolicy
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.processes import Process
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.store import accounts, items, leases, processes, runs
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.phone_failures import PhoneFailure

_T = TypeVar("_T")

_UNSCALED: Final = HealthPolicy()


class UnitOfWork:
    """The rows that one batch uses: read under lock, changed, and written together."""

    def __init__(
        self,
        *,
        tx: Transaction,
        items_before: dict[str, Item],
        leases_before: dict[str, Lease],
        runs_before: dict[str, runs.Run],
        trace_ids: Mapping[str, str | None],
        health: HealthPolicy = _UNSCALED,
    ) -> None:
        self.tx = tx
        self.trace_ids = trace_ids  # by process
        self.health = health
        self.items_before, self.items = items_before, dict(items_before)
        self.leases_before, self.leases = leases_before, dict(leases_before)
        self.runs_before, self.runs = runs_before, dict(runs_before)
        self.quarantined: dict[str, str] = {}  # phone id -> why
        self.cleaned: set[str] = set()  # phone ids
        self.proved: set[str] = set()  # ids of phones that passed a golden job
        self.unproved: set[str] = set()  # ids of runs of golden jobs that failed
        self.charged: dict[
            str, PhoneFailure
        ] = {}  # by run: the first thing that was its phone's fault
        self.attention: dict[str, str] = {}  # account id -> why
        self.actors: dict[str, str] = {}  # item id -> who moves it, if not the transaction's actor

    async def save(self, locked: dict[str, Process]) -> None:
        """Write what changed, in the order of the locks, and sync the processes."""
        moved_items = changed(self.items_before, self.items)
        await items.save(self.tx, self.items_before, moved_items, actors=self.actors)
        if self.quarantined or self.cleaned or self.charged or self.proved:
            await assess(
                self.tx,
                policy=self.health,
                charged=list(self.charged.values()),
                soiled_by=self.quarantined,
                cleaned_now=self.cleaned - self.quarantined.keys(),
                proved_now=self.proved,
                unproved=self.unproved,
            )
        for account_id in sorted(self.attention):
            reason = self.attention[account_id]
            await accounts.needs_attention(self.tx, account_id, reason=reason)
        await leases.save(self.tx, self.leases_before, changed(self.leases_before, self.leases))
        await runs.save(self.tx, self.runs_before, changed(self.runs_before, self.runs))
        moved = {item.process_id for item in changed(self.items_before, self.items)}
        await roll_up_status(
            self.tx, {key: process for key, process in locked.items() if key in moved}
        )

    def charge(self, lease: Lease, blame: Blame, code: str, message: str = "") -> None:
        """Charge the lease's phone with what went wrong in its run."""
        self.charged.setdefault(
            lease.run_id,
            PhoneFailure(
                run_id=lease.run_id,
                phone_id=lease.phone_id,
                agent_id=lease.agent_id,
                process_id=lease.process_id,
                at=self.tx.now,
                blame=blame,
                code=code[:128],
                message=message[:500],
            ),
        )


async def open_unit_of_work(
    tx: Transaction, lease_ids: set[str], *, health: HealthPolicy = _UNSCALED
) -> tuple[UnitOfWork, dict[str, Process]]:
    """Lock what hangs on these leases, in the one order, and read it.

    *health* is for who charges phones.
    """
    named = await leases.get(tx, lease_ids)
    locked = await processes.lock(tx, {lease.process_id for lease in named.values()})
    before = await items.lock(tx, {lease.item_id for lease in named.values()})
    held = await leases.get(tx, named)  # again: now nobody else moves them
    old_runs = await runs.get(tx, {lease.run_id for lease in held.values()})
    work = UnitOfWork(
        tx=tx,
        items_before=before,
        leases_before=held,
        runs_before=old_runs,
        trace_ids={process.process_id: process.trace_id for process in locked.values()},
        health=health,
    )
    return work, locked


def changed(before: Mapping[str, _T], after: Mapping[str, _T]) -> list[_T]:
    """Return the values that were replaced."""
    return [value for key, value in after.items() if value is not before[key]]
