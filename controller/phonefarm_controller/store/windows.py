"""Windows, one row for each scope and name, and the waiting items in their scope."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, literal, or_, select, update

from phonefarm_controller.model.hours import Hours
from phonefarm_controller.model.windows import Window, WindowScope
from phonefarm_controller.store.bulk_writes import any_of
from phonefarm_controller.store.compiled_statements import Statement, among
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.cluster import windows
from phonefarm_controller.store.schema.fleet import groups
from phonefarm_controller.store.schema.types import Instant
from phonefarm_controller.store.schema.work import (
    PHONE_HELD,
    UNFINISHED,
    WAITING,
    leases,
    queue_items,
)

BATCH: Final = 1000

_w = windows.c
_i = queue_items.c
_EVERY = select(
    _w.scope, _w.name, _w.zone, _w.hours, _w.may_overrun, _w.since, _w.by, _w.reason
).order_by(_w.scope, _w.name)
_ROWS = Statement(_EVERY)
_ANY = Statement(select(_w.name).limit(1))
_OF = Statement(
    _EVERY.where(
        or_(
            and_(_w.scope == str(WindowScope.ACCOUNT), among(_w.name, "accounts")),
            and_(_w.scope == str(WindowScope.PHONE), among(_w.name, "phones")),
            and_(_w.scope == str(WindowScope.GROUP), among(_w.name, "groups")),
            _w.scope == str(WindowScope.CAPABILITY),
        )
    )
)


def _of(scope: WindowScope, name: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(_w.scope == str(scope), _w.name == name).correlate(queue_items)


# Each of them one look into the key of a table: together in one EXISTS they would walk it.
COVERED: Final = or_(
    _of(WindowScope.ACCOUNT, _i.want_account_id),
    _of(WindowScope.PHONE, _i.want_phone_id),
    _of(WindowScope.GROUP, _i.want_phone_group),
    _of(WindowScope.CAPABILITY, _i.capability),
    exists()
    .where(
        _w.scope == str(WindowScope.GROUP),
        groups.c.kind == "phone",
        groups.c.name == _w.name,
        groups.c.member_id == _i.want_phone_id,
    )
    .correlate(queue_items),
)
"""True for a waiting item that has a window, open or closed."""


async def rows(tx: Transaction) -> list[tuple[Any, ...]]:
    """Return every window as it is stored, by scope and name: cheap to read and to compare."""
    return await _ROWS.rows(tx)


def of_rows(stored: Sequence[tuple[Any, ...]]) -> list[Window]:
    """Return the windows of the rows, in their order."""
    return [_window(row) for row in stored]


async def all_of(tx: Transaction) -> list[Window]:
    """Return every window, by scope and name."""
    return of_rows(await rows(tx))


async def of_work(
    tx: Transaction,
    *,
    account_ids: Collection[str],
    phone_ids: Collection[str],
    group_names: Collection[str],
) -> list[Window]:
    """Return the windows of these accounts, phones and groups, and of all capabilities."""
    found = await _OF.rows(
        tx, accounts=list(account_ids), phones=list(phone_ids), groups=list(group_names)
    )
    return of_rows(found)


async def any_at_all(tx: Transaction) -> bool:
    """Tell whether there is any window."""
    return bool(await _ANY.rows(tx))


async def put(tx: Transaction, window: Window) -> None:
    """Add the window, or replace the one of its scope and name."""
    row = {
        "scope": str(window.scope),
        "name": window.name,
        "zone": window.hours.zone,
        "hours": json.dumps(window.hours.spans),
        "may_overrun": window.may_overrun,
        "since": window.since,
        "by": window.by,
        "reason": window.reason,
    }
    await upsert(tx, windows, [row], key=["scope", "name"])


async def remove(tx: Transaction, scope: WindowScope, name: str, *, limit_at: datetime) -> bool:
    """Remove a window; return whether there was one.

    What waits in it under the farm's own limit waits until *limit_at* at least: the limit did not
    count while there was a window. So does what is at work: it may yet wait again.
    """
    there = and_(_w.scope == str(scope), _w.name == name)
    if (await tx.connection.execute(delete(windows).where(there))).rowcount == 0:
        return False
    early = and_(_i.deadline_given.is_(False), _i.deadline_at < literal(limit_at, Instant()))
    mine = select(_i.item_id).where(early, _within(scope, name))
    at_work = _i.item_id.in_(select(leases.c.item_id).where(PHONE_HELD))
    found: set[str] = set()
    for query in (mine.where(WAITING), mine.where(UNFINISHED, at_work)):
        found.update((await tx.connection.execute(query)).scalars())
    ordered = sorted(found)
    here = _i.item_id.in_(any_of("ids"))
    lock = select(_i.item_id).where(here).order_by(_i.item_id).with_for_update()
    postpone = update(queue_items).where(here, UNFINISHED, early).values(deadline_at=limit_at)
    for first in range(0, len(ordered), BATCH):
        ids = {"ids": ordered[first : first + BATCH]}
        await tx.connection.execute(lock, ids)
        await tx.connection.execute(postpone, ids)
    return True


async def covered(tx: Transaction, item_ids: Collection[str]) -> set[str]:
    """Return those of the items that have a window."""
    query = select(_i.item_id).where(among(_i.item_id, "ids"), COVERED)
    return set((await tx.connection.execute(query, {"ids": list(item_ids)})).scalars())


def _within(scope: WindowScope, name: str) -> ColumnElement[bool]:
    members = select(groups.c.member_id).where(groups.c.kind == "phone", groups.c.name == name)
    named: dict[WindowScope, ColumnElement[bool]] = {
        WindowScope.ACCOUNT: _i.want_account_id == name,
        WindowScope.PHONE: _i.want_phone_id == name,
        WindowScope.GROUP: or_(_i.want_phone_group == name, _i.want_phone_id.in_(members)),
        WindowScope.CAPABILITY: _i.capability == name,
    }
    return named[scope]


def _window(row: Sequence[Any]) -> Window:
    scope, name, zone, spans, may_overrun, since, by, reason = row
    return Window(
        scope=WindowScope(scope),
        name=name,
        hours=Hours(zone=zone, spans=tuple(json.loads(spans))),
        may_overrun=may_overrun,
        since=since,
        by=by,
        reason=reason,
    )
