"""Limits, one row for each kind, scope and name; the runs that they count."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, func, or_, select

from phonefarm_controller.model.items import GOLDEN, HOLD
from phonefarm_controller.model.limits import (
    AccountLimits,
    AccountRuns,
    AtWork,
    Limit,
    LimitKind,
    LimitScope,
    Room,
)
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.cluster import limits
from phonefarm_controller.store.schema.fleet import groups
from phonefarm_controller.store.schema.types import Instant
from phonefarm_controller.store.schema.work import PHONE_HELD, STARTED, leases, queue_items, runs

_LONGEST_RUN: Final = timedelta(days=1)
"""More than any run can last: it has begun within this time before its end."""
_l = limits.c
_r = runs.c
_NAMES: Final = tuple(Limit.__dataclass_fields__)
_KEY: Final = ("kind", "scope", "name")
_EVERY = select(*(limits.c[name] for name in _NAMES)).order_by(*(limits.c[name] for name in _KEY))
_READS: Final = {
    "kind": {str(kind): kind for kind in LimitKind}.__getitem__,
    "scope": {str(scope): scope for scope in LimitScope}.__getitem__,
}
_ROWS = Statement(_EVERY, reads=_READS)
_LOCK = Statement(
    _EVERY.where(_l.kind == str(LimitKind.RUNS_AT_ONCE)).with_for_update(), reads=_READS
)
_DAY = bindparam("day", type_=Instant())
_DONE = Statement(
    select(
        _r.account_id,
        func.count().filter(_r.started_at >= _DAY).label("today"),
        func.max(func.coalesce(_r.ended_at, _r.started_at), type_=Instant()).label("last_end"),
    )
    .where(
        among(_r.account_id, "ids"),
        STARTED,
        _r.started_at >= bindparam("since", type_=Instant()),
    )
    .group_by(_r.account_id)
)
_AT_WORK = Statement(
    select(leases.c.phone_id, leases.c.agent_id, queue_items.c.app)
    .join(queue_items, queue_items.c.item_id == leases.c.item_id)
    .where(
        PHONE_HELD,
        # What is revoked may act until its agent says that it is over.
        or_(leases.c.state == str(LeaseState.LIVE), leases.c.revoked.is_(True)),
        queue_items.c.capability != HOLD,
        queue_items.c.capability != GOLDEN,
    )
)
_MEMBERS = Statement(
    select(groups.c.member_id, groups.c.name).where(
        groups.c.kind == "phone", among(groups.c.name, "names")
    )
)


async def rows(tx: Transaction) -> list[tuple[Any, ...]]:
    """Return every limit as it is stored, by kind, scope and name."""
    return await _ROWS.rows(tx)


def of_rows(stored: Sequence[tuple[Any, ...]]) -> list[Limit]:
    """Return the limits of the rows, in their order."""
    return values_of(Limit, _NAMES, stored)


async def all_of(tx: Transaction) -> list[Limit]:
    """Return every limit, by kind, scope and name."""
    return of_rows(await rows(tx))


async def lock_at_once(tx: Transaction) -> list[Limit]:
    """Lock and return the limits of runs at once: one claim at a time counts for them."""
    return of_rows(await _LOCK.rows(tx))


async def put(tx: Transaction, limit: Limit) -> None:
    """Add the limit, or replace the one of its kind, scope and name."""
    row = {name: getattr(limit, name) for name in _NAMES}
    row |= {"kind": str(limit.kind), "scope": str(limit.scope)}
    await upsert(tx, limits, [row], key=_KEY)


async def remove(tx: Transaction, kind: LimitKind, scope: LimitScope, name: str) -> bool:
    """Remove a limit; return whether there was one."""
    there = and_(_l.kind == str(kind), _l.scope == str(scope), _l.name == name)
    return (await tx.connection.execute(delete(limits).where(there))).rowcount > 0


async def account_runs(
    tx: Transaction, limited: AccountLimits, account_ids: Iterable[str]
) -> dict[str, AccountRuns]:
    """Return what the accounts have done, as far as their limits ask; without limits, nothing."""
    by_limits: dict[tuple[datetime, datetime], list[str]] = defaultdict(list)
    for account_id in set(account_ids):
        day, since = tx.now, tx.now
        for limit in limited.of(account_id):
            if limit.kind is LimitKind.SECONDS_BETWEEN_RUNS:
                since = tx.now - timedelta(seconds=limit.value) - _LONGEST_RUN
            elif (found := limited.day(limit, tx.now)) is not None:
                day = found[0]
        if (since := min(day, since)) < tx.now:
            by_limits[day, since].append(account_id)
    return {
        account_id: AccountRuns(today=today, last_end=last_end)
        for (day, since), ids in by_limits.items()
        for account_id, today, last_end in await _DONE.rows(tx, ids=ids, day=day, since=since)
    }


async def limited_groups(tx: Transaction, counted: Collection[Limit]) -> dict[str, set[str]]:
    """Return the groups of each phone, of those groups that have a limit of runs at once."""
    names = [limit.name for limit in counted if limit.scope is LimitScope.GROUP]
    found: dict[str, set[str]] = defaultdict(set)
    for phone_id, name in await _MEMBERS.rows(tx, names=names) if names else ():
        found[phone_id].add(name)
    return found


async def at_work(
    tx: Transaction, counted: Collection[Limit], memberships: Mapping[str, Collection[str]]
) -> list[AtWork]:
    """Return the runs of callers' work that have not ended, for the limits of runs at once.

    Without such limits nothing is read.
    """
    if not any(limit.kind is LimitKind.RUNS_AT_ONCE for limit in counted):
        return []
    return [
        AtWork(app=app, agent_id=agent_id, groups=memberships.get(phone_id, ()))
        for phone_id, agent_id, app in await _AT_WORK.rows(tx)
    ]


async def room(tx: Transaction, counted: Collection[Limit]) -> Room:
    """Return the room for runs at once that those at work leave."""
    memberships = await limited_groups(tx, counted)
    return Room(counted, await at_work(tx, counted, memberships))
