"""Pauses, one row for each scope and name; the items that wait in them, and their duration."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    type_coerce,
    update,
)

from phonefarm_controller.model.items import HOLD, NO_DEADLINE
from phonefarm_controller.model.pauses import Pause, PauseScope, WaitingWork
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.model.times import micros
from phonefarm_controller.store.bulk_writes import any_of
from phonefarm_controller.store.compiled_statements import Statement
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.cluster import pauses
from phonefarm_controller.store.schema.types import Instant
from phonefarm_controller.store.schema.work import PHONE_HELD, WAITING, leases, queue_items

BATCH: Final = 1000

_p = pauses.c
_i = queue_items.c
_EVERY = select(_p.scope, _p.name, _p.since, _p.by, _p.reason).order_by(_p.scope, _p.name)
_ALL = Statement(_EVERY, reads={"scope": PauseScope})
_LOCK_ALL = Statement(_EVERY.with_for_update(), reads={"scope": PauseScope})
_HOLDS_BACK = or_(
    _p.scope == str(PauseScope.ALL),
    and_(_p.scope == str(PauseScope.APP), _p.name == _i.app),
    and_(_p.scope == str(PauseScope.ACCOUNT), _p.name == _i.want_account_id),
    and_(_p.scope == str(PauseScope.CAPABILITY), _p.name == _i.capability),
)
HELD_BACK: Final = exists().where(_HOLDS_BACK).correlate(queue_items)
"""True for a waiting item that a pause holds back. No pause holds back a hold."""


async def all_of(tx: Transaction) -> list[Pause]:
    """Return every pause, by scope and name."""
    return [_pause(*row) for row in await _ALL.rows(tx)]


def _pause(scope: PauseScope, name: str, since: datetime, by: str, reason: str) -> Pause:
    return Pause(scope=scope, name=name, since=since, by=by, reason=reason)


async def put(tx: Transaction, pause: Pause) -> Pause:
    """Add a pause, and return it; of what is paused already only reason and author change."""
    values = {name: getattr(pause, name) for name in Pause.__dataclass_fields__}
    values["scope"] = str(pause.scope)
    await upsert(tx, pauses, [values], key=["scope", "name"], changes=["by", "reason"])
    return next(
        each for each in await all_of(tx) if (each.scope, each.name) == (pause.scope, pause.name)
    )


async def end(tx: Transaction, scope: PauseScope, name: str) -> bool:
    """End a pause; return whether there was one.

    What waits in it under the farm's own limit gets the time back that this pause alone has taken:
    from when it began, or the item was due, until now, or until the first other pause began that
    still holds the item back and gives back the rest. All pauses are locked: who ends another one
    meanwhile does so afterwards.
    """
    known = [_pause(*row) for row in await _LOCK_ALL.rows(tx)]
    ended = next((pause for pause in known if (pause.scope, pause.name) == (scope, name)), None)
    if ended is None:
        return False
    await tx.connection.execute(delete(pauses).where(_p.scope == str(scope), _p.name == name))
    limited = and_(_i.deadline_given.is_(False), _i.deadline_at < NO_DEADLINE)
    query = select(_i.item_id).where(WAITING, limited, _within(scope, name)).order_by(_i.item_id)
    found = list((await tx.connection.execute(query)).scalars())
    began = literal(micros(ended.since), BigInteger)
    due = type_coerce(_i.ready_at, BigInteger)
    others = select(func.min(type_coerce(_p.since, BigInteger))).where(_HOLDS_BACK)
    until = func.coalesce(
        others.correlate(queue_items).scalar_subquery(), literal(micros(tx.now), BigInteger)
    )
    taken = until - case((due > began, due), else_=began)
    here = _i.item_id.in_(any_of("ids"))
    lock = select(_i.item_id).where(here).order_by(_i.item_id).with_for_update()
    give_back = (
        update(queue_items)
        .where(here, WAITING, taken > 0)
        .values(deadline_at=type_coerce(_i.deadline_at, BigInteger) + taken)
    )
    for first in range(0, len(found), BATCH):
        ids = {"ids": found[first : first + BATCH]}
        await tx.connection.execute(lock, ids)
        await tx.connection.execute(give_back, ids)
    return True


async def waiting_in(
    tx: Transaction, scope: PauseScope, name: str, *, soon: timedelta
) -> WaitingWork:
    """Count what waits in the scope, and the deadlines that callers gave within *soon*."""
    ends = case((and_(_i.deadline_given, _i.deadline_at <= tx.now + soon), _i.deadline_at))
    query = select(
        func.count().label("items"),
        func.count(ends).label("deadlines"),
        type_coerce(func.min(ends), Instant()).label("first_deadline"),
    ).where(WAITING, _within(scope, name), _i.capability != HOLD)
    row = (await tx.connection.execute(query)).one()
    return WaitingWork(**row._asdict())


async def leases_in(tx: Transaction, scope: PauseScope, name: str) -> list[str]:
    """Return the live leases of the work in a scope, by id."""
    query = (
        select(leases.c.lease_id)
        .join(queue_items, _i.item_id == leases.c.item_id)
        .where(PHONE_HELD, leases.c.state == LeaseState.LIVE)
        .where(_within(scope, name, account=leases.c.account_id), _i.capability != HOLD)
        .order_by(leases.c.lease_id)
    )
    return list((await tx.connection.execute(query)).scalars())


def _within(
    scope: PauseScope, name: str, *, account: ColumnElement[Any] = _i.want_account_id
) -> ColumnElement[bool]:
    named: dict[PauseScope, ColumnElement[bool]] = {
        PauseScope.ALL: true(),
        PauseScope.APP: _i.app == name,
        PauseScope.ACCOUNT: account == name,
        PauseScope.CAPABILITY: _i.capability == name,
    }
    return named[scope]
