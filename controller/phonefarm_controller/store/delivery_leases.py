"""Finds the deliveries to lease: the oldest unsettled of each process, within the limits.

What a lease costs does not grow with what waits: it looks at the leases there are (a few for each
receiver), seeks the next receiver in an index for each one that is owed something, and reads as
many deliveries as it lends.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, bindparam, literal_column, or_, select, text

from phonefarm_controller.store.compiled_statements import Statement, among
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.deliveries import COLUMNS, RECORD, Delivery, delivery_of_row
from phonefarm_controller.store.schema.delivery import deliveries
from phonefarm_controller.store.schema.types import Instant

MOST_TOGETHER: Final = 3 * 1024 * 1024
"""The most characters of records in one answer, which must fit into a message of 8 MiB."""

_LOCK: Final = 0x70_68_6C_65_6E_64  # "phlend": one lender at a time on PostgreSQL

_d = deliveries.c
# Written out, not bound: a partial index is used only where its condition is in the statement.
_IS_PENDING: Final[ColumnElement[str]] = literal_column("'pending'")
_IS_LEASED: Final[ColumnElement[str]] = literal_column("'leased'")


def _earlier() -> Any:
    older = deliveries.alias("older")
    return (
        select(older.c.delivery_id)
        .where(
            older.c.process_id == _d.process_id,
            older.c.sequence < _d.sequence,
            or_(older.c.state == _IS_PENDING, older.c.state == _IS_LEASED),
        )
        .exists()
    )


def _receivers() -> Any:
    """Seek from one receiver to the next: each with the moment its earliest delivery is due.

    Both engines go by the one index that has this order; `min()` would let them choose another.
    """
    found = deliveries.alias("found")
    waiting = _first().cte("waiting", recursive=True)
    following = found.c.delivery_id == _first_id_after(waiting.c.receiver)
    waiting = waiting.union_all(
        select(found.c.receiver, found.c.due_at).select_from(waiting).join(found, following)
    )
    return select(waiting.c.receiver, waiting.c.due_at)


def _first() -> Any:
    one, first = deliveries.alias("one"), deliveries.alias("first")
    return select(one.c.receiver, one.c.due_at).where(
        one.c.delivery_id
        == select(first.c.delivery_id)
        .where(first.c.state == _IS_PENDING)
        .order_by(first.c.receiver, first.c.due_at)
        .limit(literal_column("1"))
        .scalar_subquery()
    )


def _first_id_after(receiver: Any) -> Any:
    following = deliveries.alias("following")
    return (
        select(following.c.delivery_id)
        .where(following.c.state == _IS_PENDING, following.c.receiver > receiver)
        .order_by(following.c.receiver, following.c.due_at)
        .limit(literal_column("1"))
        .scalar_subquery()
    )


_HELD: Final = Statement(
    select(_d.delivery_id, _d.receiver, _d.due_at)
    .where(_d.state == _IS_LEASED)
    .order_by(_d.due_at, _d.delivery_id)
)
_RECEIVERS: Final = Statement(_receivers())
_LAPSED: Final = Statement(
    select(*COLUMNS)
    .where(among(_d.delivery_id, "ids"), _d.state == _IS_LEASED)
    .order_by(_d.due_at, _d.delivery_id)
    .with_for_update(skip_locked=True, of=deliveries)
)
_OLDEST: Final = Statement(
    select(*COLUMNS)
    .where(
        _d.state == _IS_PENDING,
        _d.receiver == bindparam("receiver", required=True),
        _d.due_at <= bindparam("now", required=True, type_=Instant),
        ~_earlier(),
    )
    .order_by(_d.due_at, _d.sequence)
    .limit(bindparam("room", required=True, type_=Integer))
    .with_for_update(skip_locked=True, of=deliveries)
)


async def lock_due(tx: Transaction, *, limit: int, per_receiver: int) -> list[Delivery]:
    """Return, locked, what may be leased now: lapsed leases, then what is due, the oldest first.

    At most *limit*, so many that a receiver has at most *per_receiver* of them lent, and no more
    than MOST_TOGETHER characters of records, but one at least.
    """
    if tx.connection.dialect.name == "postgresql":
        # Two lenders would each count the same leases and lend too many together.
        await tx.connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    held = await _HELD.rows(tx)
    lent_now = Counter(receiver for _, receiver, _ in held)
    basket = _Basket(limit)
    lapsed = [delivery_id for delivery_id, _, due_at in held if due_at <= tx.now][:limit]
    if lapsed:
        basket.take(await _LAPSED.rows(tx, ids=lapsed))
    owed = [(due, receiver) for receiver, due in await _RECEIVERS.rows(tx) if due <= tx.now]
    for _, receiver in sorted(owed):
        room = min(per_receiver - lent_now[receiver], basket.room)
        if room > 0:
            basket.take(await _OLDEST.rows(tx, receiver=receiver, now=tx.now, room=room))
    return basket.content


class _Basket:
    """Collects deliveries to lease, up to a number and a size."""

    def __init__(self, limit: int) -> None:
        self.content: list[Delivery] = []
        self.room = limit
        self._characters = 0

    def take(self, rows: Iterable[Sequence[Any]]) -> None:
        for row in rows:
            self._characters += len(row[RECORD])
            if self.content and self._characters > MOST_TOGETHER:
                self.room = 0
            if not self.room:
                return
            self.content.append(delivery_of_row(row))
            self.room -= 1
