"""The positions of waiting items in the queue, and the queue's length."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    and_,
    func,
    literal,
    null,
    or_,
    select,
    text,
    tuple_,
)

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.states import ITEM_WAITING
from phonefarm_controller.store import items
from phonefarm_controller.store.compiled_statements import among
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import accounts
from phonefarm_controller.store.schema.types import Instant
from phonefarm_controller.store.schema.work import (
    CLAIMABLE,
    READY,
    WAITING,
    WITHOUT_APP,
    queue_items,
)

_other: Final = queue_items.alias("other")
_o = _other.c
_mine: Final = queue_items.alias("mine")
# As text, and first what an index of a part has: it is used only for the very same words.
_OTHER_CLAIMABLE: Final = text(f"other.{WAITING} AND other.{CLAIMABLE}")
_OTHER_WITHOUT_APP: Final = text(f"other.{CLAIMABLE} AND other.{READY} AND other.{WITHOUT_APP}")
# What the claim asks of a bound item's account; one that cannot work holds nobody back.
_OTHER_CAN_ACT: Final = and_(
    accounts.c.account_id == _o.want_account_id,
    accounts.c.active.is_(True),
    accounts.c.condition == "ok",
    accounts.c.phone_id == _o.want_phone_id,
    accounts.c.app == _o.app,
)


async def waiting_of(tx: Transaction, process_id: str) -> list[Item]:
    """Return the process's items that wait, by their ordinal."""
    query = select(queue_items.c.item_id).where(
        queue_items.c.process_id == process_id, queue_items.c.state.in_(sorted(ITEM_WAITING))
    )
    found = await items.get(tx, (await tx.connection.execute(query)).scalars())
    return sorted(found.values(), key=lambda item: item.ordinal)


async def bound_ahead(tx: Transaction, item_ids: Collection[str]) -> dict[str, int]:
    """Count, for each bound item, the items bound to its phone that may be claimed before it.

    Of those that need no app only the ready ones count: an index has them.
    """
    pairs = (
        select(_mine.c.item_id, func.count().label("many"))
        .join(_other, _other.c.want_phone_id == _mine.c.want_phone_id)
        .where(among(_mine.c.item_id, "ids"), _order(_other) < _order(_mine))
        .group_by(_mine.c.item_id)
    )
    due = or_(_o.ready_at <= tx.now, _o.ready_at <= _mine.c.ready_at)
    found: Counter[str] = Counter()
    for query in (
        pairs.join(accounts, _OTHER_CAN_ACT).where(_OTHER_CLAIMABLE, due),
        pairs.where(_OTHER_WITHOUT_APP),
    ):
        rows = await tx.connection.execute(query, {"ids": list(item_ids)})
        found.update({row.item_id: row.many for row in rows})
    return found


async def bound_before(tx: Transaction, item: Item, phone_ids: Collection[str]) -> int:
    """Count the items bound to any of the phones that may be claimed before this one."""
    here = select(func.count()).where(among(_o.want_phone_id, "ids"), *_before(tx, item))
    of_accounts = here.select_from(_other).join(accounts, _OTHER_CAN_ACT)
    without_app = here.select_from(_other).where(_OTHER_WITHOUT_APP)
    ids = {"ids": list(phone_ids)}
    first: int = (await tx.connection.execute(of_accounts, ids)).scalar_one()
    return first + int((await tx.connection.execute(without_app, ids)).scalar_one())


async def open_before(tx: Transaction, item: Item) -> dict[tuple[str, str | None], int]:
    """Count, by app and phone group, what is bound to no phone and may be claimed before it."""
    query = (
        select(_o.app, _o.want_phone_group, func.count().label("many"))
        .where(_o.want_phone_id.is_(null()), *_before(tx, item))
        .group_by(_o.app, _o.want_phone_group)
    )
    rows = await tx.connection.execute(query)
    return {(row.app, row.want_phone_group): row.many for row in rows}


def _before(tx: Transaction, item: Item) -> Sequence[Any]:
    ready: datetime = max(tx.now, item.ready_at)
    turn = tuple_(
        literal(-item.priority),
        literal(item.created_at, Instant()),
        literal(item.ordinal),
        literal(item.item_id),
    )
    return (_OTHER_CLAIMABLE, _o.ready_at <= ready, _order(_other) < turn)


def _order(table: FromClause) -> "ColumnElement[Any]":
    """Return the place in the queue, in the order of scheduler.matching."""
    return tuple_(-table.c.priority, table.c.created_at, table.c.ordinal, table.c.item_id)


async def most_urgent(tx: Transaction, *, most: int) -> list[Item]:
    """Return the waiting items whose deadlines end first, at most *most*, the first first."""
    first = select(queue_items.c.item_id).where(WAITING).order_by(queue_items.c.deadline_at)
    found = await items.get(tx, (await tx.connection.execute(first.limit(most))).scalars())
    return sorted(found.values(), key=lambda item: (item.deadline_at, item.item_id))


async def count_waiting(tx: Transaction, *, most: int) -> int:
    """Return how many items wait, counting up to *most*."""
    first = select(queue_items.c.item_id).where(WAITING).order_by(queue_items.c.deadline_at)
    some = first.limit(most).subquery()
    found: int = (await tx.connection.execute(select(func.count()).select_from(some))).scalar_one()
    return found
