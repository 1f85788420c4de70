"""Pauses, one row for each scope and name."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, delete, insert, select, true

from phonefarm_controller.model.items import HOLD
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.store.compiled_statements import Statement
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.cluster import pauses
from phonefarm_controller.store.schema.work import leases, queue_items

_p = pauses.c
_ALL = Statement(
    select(_p.scope, _p.name, _p.since, _p.by, _p.reason).order_by(_p.scope, _p.name),
    reads={"scope": PauseScope},
)


async def all_of(tx: Transaction) -> list[Pause]:
    """Return every pause, by scope and name."""
    return [
        Pause(scope=scope, name=name, since=since, by=by, reason=reason)
        for scope, name, since, by, reason in await _ALL.rows(tx)
    ]


async def put(tx: Transaction, added: Sequence[Pause]) -> None:
    """Add pauses; one for what is paused already takes its place."""
    await drop(tx, [(pause.scope, pause.name) for pause in added])
    rows = [
        {
            "scope": str(pause.scope),
            "name": pause.name,
            "since": pause.since,
            "by": pause.by,
            "reason": pause.reason,
        }
        for pause in added
    ]
    await tx.connection.execute(insert(pauses), rows)


async def drop(tx: Transaction, ended: Sequence[tuple[PauseScope, str]]) -> int:
    """End these pauses; return how many there were."""
    count = 0
    for scope, name in ended:
        statement = delete(pauses).where(_p.scope == str(scope), _p.name == name)
        count += (await tx.connection.execute(statement)).rowcount
    return count


async def leases_in(tx: Transaction, scope: PauseScope, name: str) -> list[str]:
    """Return the live leases of the work in a scope, by id."""
    within: Mapping[PauseScope, ColumnElement[bool]] = {
        PauseScope.ALL: true(),
        PauseScope.APP: queue_items.c.app == name,
        PauseScope.ACCOUNT: leases.c.account_id == name,
        PauseScope.CAPABILITY: queue_items.c.capability == name,
    }
    query = (
        select(leases.c.lease_id)
        .join(queue_items, queue_items.c.item_id == leases.c.item_id)
        .where(leases.c.phone_held, leases.c.state == LeaseState.LIVE, within[scope])
        .where(queue_items.c.capability != HOLD)
        .order_by(leases.c.lease_id)
    )
    return list((await tx.connection.execute(query)).scalars())
