"""Leases: granting, renewing, ending."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, bindparam, select, update

from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.states import ItemState, LeaseState, RunState
from phonefarm_controller.store.bulk_writes import insert_columns, update_columns_if
from phonefarm_controller.store.compiled_statements import Statement, among, columns_of, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.types import SafeText
from phonefarm_controller.store.schema.work import PHONE_HELD, leases, queue_items, runs

_l = leases.c
_NAMES = tuple(Lease.__dataclass_fields__)
_COLUMNS = [leases.c[name] for name in _NAMES]
_CHANGING = ("state", "phone_held", "account_held", "ended_at", "reason", "revoked")
_READS: Final = {"state": {str(state): state for state in LeaseState}.__getitem__}
_GET = Statement(select(*_COLUMNS).where(among(_l.lease_id, "ids")), reads=_READS)
_HELD = Statement(select(*_COLUMNS).where(PHONE_HELD), reads=_READS)
_LOCK_HELD_BY = Statement(
    select(*_COLUMNS)
    .where(_l.agent_id == bindparam("agent_id", type_=SafeText), PHONE_HELD)
    .order_by(_l.lease_id)
    .with_for_update(),
    reads=_READS,
)
_RENEW = Statement(update(leases).where(among(_l.lease_id, "ids")).values(renewals=_l.renewals + 1))
_BUSY = Statement(select(_l.phone_id, _l.account_id, _l.account_held).where(PHONE_HELD))


async def grant(tx: Transaction, new: Sequence[Lease]) -> None:
    """Insert new leases; the unique indexes refuse a second one for a phone or an account."""
    if new:
        await insert_columns(tx, leases, columns_of(new, _NAMES))


async def get(tx: Transaction, lease_ids: Iterable[str]) -> dict[str, Lease]:
    """Return the leases by id; unknown ones are missing."""
    rows = await _GET.rows(tx, ids=list(set(lease_ids)))
    return {lease.lease_id: lease for lease in values_of(Lease, _NAMES, rows)}


async def held_by(tx: Transaction, agent_id: str) -> list[Lease]:
    """Return every lease that still keeps a phone of this agent."""
    query = select(*_COLUMNS).where(_l.agent_id == agent_id, PHONE_HELD).order_by(_l.lease_id)
    return [_lease(row) for row in await tx.connection.execute(query)]


@dataclass(frozen=True, kw_only=True)
class HeldWork:
    """A lease that holds a phone, with the states of its run and its item."""

    lease_id: str
    run_id: str
    item_id: str
    attempt: int
    epoch: int
    state: LeaseState
    reason: str | None
    run_state: RunState
    item_state: ItemState
    item_lease_id: str | None
    cancelled: bool


_HELD_WORK_NAMES = tuple(HeldWork.__dataclass_fields__)
_HELD_WORK = Statement(
    select(
        _l.lease_id,
        _l.run_id,
        _l.item_id,
        runs.c.attempt,
        _l.epoch,
        _l.state,
        _l.reason,
        runs.c.state.label("run_state"),
        queue_items.c.state.label("item_state"),
        queue_items.c.lease_id.label("item_lease_id"),
        queue_items.c.cancel.is_not(None).label("cancelled"),
    )
    .select_from(leases)
    .join(runs, runs.c.run_id == _l.run_id)
    .join(queue_items, queue_items.c.item_id == _l.item_id)
    .where(_l.agent_id == bindparam("agent_id", type_=SafeText), PHONE_HELD)
    .order_by(_l.lease_id),
    reads={
        "state": {str(state): state for state in LeaseState}.__getitem__,
        "run_state": {str(state): state for state in RunState}.__getitem__,
        "item_state": {str(state): state for state in ItemState}.__getitem__,
    },
)


async def held_work(tx: Transaction, agent_id: str) -> list[HeldWork]:
    """Return every lease that still keeps a phone of this agent, with its run and its item."""
    rows = await _HELD_WORK.rows(tx, agent_id=agent_id)
    return values_of(HeldWork, _HELD_WORK_NAMES, rows)


async def held(tx: Transaction) -> list[Lease]:
    """Return every lease that still keeps a phone."""
    return values_of(Lease, _NAMES, await _HELD.rows(tx))


async def of_phones(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, Lease]:
    """Return the lease that keeps each phone; a free phone is missing."""
    query = select(*_COLUMNS).where(_l.phone_id.in_(set(phone_ids)), PHONE_HELD)
    return {row.phone_id: _lease(row) for row in await tx.connection.execute(query)}


@dataclass(frozen=True, kw_only=True)
class Busy:
    """The phones and accounts that leases hold."""

    phones: frozenset[str]
    accounts: frozenset[str]


async def busy(tx: Transaction) -> Busy:
    """Return every phone and account that a lease keeps."""
    rows = await _BUSY.rows(tx)
    return Busy(
        phones=frozenset(phone_id for phone_id, _, _ in rows),
        accounts=frozenset(account_id for _, account_id, account_held in rows if account_held),
    )


async def renew_if_live(
    tx: Transaction, agent_id: str, lease_epochs: Mapping[str, int]
) -> dict[str, Lease]:
    """Raise the renewal counter of the agent's live leases.

    Returns the named leases of this agent and epoch that are not lost, by id: those renewed and
    those whose phone is being released. Locked first, in the order of their ids: what is returned
    as kept is kept when this commits.
    """
    rows = await _LOCK_HELD_BY.rows(tx, agent_id=agent_id)
    mine = {
        lease.lease_id: lease
        for lease in values_of(Lease, _NAMES, rows)
        if lease.epoch == lease_epochs.get(lease.lease_id)
        and lease.state in {LeaseState.LIVE, LeaseState.RELEASING}
        and not lease.revoked
    }
    live = [lease_id for lease_id, lease in mine.items() if lease.state is LeaseState.LIVE]
    if live:
        await _RENEW.run(tx, ids=live)
    return mine


async def save(tx: Transaction, before: Mapping[str, Lease], after: Sequence[Lease]) -> None:
    """Write moved leases, each only if its state is still that of *before*."""
    if after:
        moved = sorted(after, key=lambda lease: lease.lease_id)
        was = columns_of([before[lease.lease_id] for lease in moved], ("lease_id", "state"))
        await update_columns_if(tx, leases, was=was, columns=columns_of(moved, _CHANGING))


async def unrenewed(tx: Transaction, lease_id: str, *, renewals: int) -> bool:
    """Tell, under lock, whether the live lease still has this renewal counter."""
    query = (
        select(_l.lease_id).where(
            _l.lease_id == lease_id, _l.renewals == renewals, _l.state == LeaseState.LIVE
        )
    ).with_for_update()
    return (await tx.connection.execute(query)).one_or_none() is not None


def _lease(row: Row[Any]) -> Lease:
    values = row._asdict()
    values["state"] = LeaseState(values["state"])
    return Lease(**values)
