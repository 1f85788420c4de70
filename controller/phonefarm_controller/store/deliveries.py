"""Deliveries: the transactional outbox."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, or_, select, update

from phonefarm_controller.domain.states import DeliveryState
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.statements import Statement, among, columns_of
from phonefarm_controller.store.tables import deliveries
from phonefarm_controller.store.writes import insert_columns, update_if

MOST_TOGETHER: Final = 3 * 1024 * 1024
"""How many characters of records are lent at once: the answer must fit in a message of 8 MiB."""

_d = deliveries.c
_STOPPED = Statement(
    select(_d.process_id)
    .where(among(_d.process_id, "ids"), _d.state == DeliveryState.STOPPED)
    .distinct()
)
_CHANGING = (
    "state",
    "attempts",
    "due_at",
    "first_attempt_at",
    "lease_token",
    "settled_at",
    "last_error",
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One callback to send."""

    delivery_id: str
    process_id: str
    sequence: int
    milestone: str
    emitted_at: datetime
    url: str
    record: Mapping[str, Any]
    due_at: datetime  # pending: try from here on; leased: the lease ends here
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    first_attempt_at: datetime | None = None
    lease_token: str | None = None
    settled_at: datetime | None = None
    last_error: str | None = None


_NAMES = tuple(Delivery.__dataclass_fields__)
_COLUMNS = [deliveries.c[name] for name in _NAMES]


async def insert(tx: Transaction, new: Sequence[Delivery]) -> None:
    """Insert new deliveries."""
    if new:
        columns = columns_of(new, _NAMES)
        columns["record"] = [json.dumps(record) for record in columns["record"]]
        await insert_columns(tx, deliveries, columns)


async def lock_due(tx: Transaction, *, limit: int) -> list[Delivery]:
    """Return, locked, the due deliveries that are the oldest unsettled ones of their process.

    At most *limit*, and no more than MOST_TOGETHER characters of records, but one at least.
    """
    older = deliveries.alias("older")
    earlier = (
        select(older.c.delivery_id)
        .where(
            older.c.process_id == _d.process_id,
            older.c.sequence < _d.sequence,
            or_(older.c.state == "pending", older.c.state == "leased"),
        )
        .exists()
    )
    query = (
        select(*_COLUMNS)
        .where(
            or_(_d.state == "pending", _d.state == "leased"),
            _d.due_at <= tx.now,
            ~earlier,
        )
        .order_by(_d.due_at, _d.delivery_id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=deliveries)
    )
    due: list[Delivery] = []
    size = 0
    for row in await tx.connection.execute(query):
        size += len(row.record)
        if due and size > MOST_TOGETHER:
            break
        due.append(_delivery(row))
    return due


async def stopped(tx: Transaction, process_ids: Collection[str]) -> set[str]:
    """Return which of the processes have a receiver that is gone for good."""
    if not process_ids:
        return set()
    return {process_id for (process_id,) in await _STOPPED.rows(tx, ids=list(process_ids))}


async def lock_leased(tx: Transaction, tokens: Mapping[str, str]) -> dict[str, Delivery]:
    """Return, locked in id order, the leased deliveries whose token is the one given by id."""
    query = (
        select(*_COLUMNS)
        .where(_d.delivery_id.in_(set(tokens)), _d.state == DeliveryState.LEASED)
        .order_by(_d.delivery_id)
        .with_for_update()
    )
    rows = await tx.connection.execute(query)
    return {
        row.delivery_id: _delivery(row)
        for row in rows
        if row.lease_token == tokens[row.delivery_id]
    }


async def save(tx: Transaction, before: Mapping[str, Delivery], after: Sequence[Delivery]) -> None:
    """Write moved deliveries, each only if its state and attempts are those of *before*."""
    rows = [
        {name: getattr(delivery, name) for name in _CHANGING}
        | {
            "was_delivery_id": delivery.delivery_id,
            "was_state": before[delivery.delivery_id].state,
            "was_attempts": before[delivery.delivery_id].attempts,
        }
        for delivery in sorted(after, key=lambda delivery: delivery.delivery_id)
    ]
    keys = ("delivery_id", "state", "attempts")
    await update_if(tx, deliveries, keys=keys, changes=_CHANGING, rows=rows)


async def stop_rest(tx: Transaction, process_ids: Iterable[str]) -> None:
    """Stop every unsettled delivery of the processes: their receiver is gone for good."""
    await tx.connection.execute(
        update(deliveries)
        .where(
            and_(
                _d.process_id.in_(set(process_ids)),
                _d.state.in_((DeliveryState.PENDING, DeliveryState.LEASED)),
            )
        )
        .values(state=DeliveryState.STOPPED, settled_at=tx.now, lease_token=None)
    )


async def any_due(tx: Transaction) -> bool:
    """Tell whether an unsettled delivery is due."""
    unsettled = or_(_d.state == "pending", _d.state == "leased")
    query = select(_d.delivery_id).where(unsettled, _d.due_at <= tx.now).limit(1)
    return (await tx.connection.execute(query)).one_or_none() is not None


async def next_due(tx: Transaction) -> datetime | None:
    """Return the earliest moment at which an unsettled delivery is due; None when none is left."""
    unsettled = or_(_d.state == "pending", _d.state == "leased")
    query = select(_d.due_at).where(unsettled, _d.due_at > tx.now).order_by(_d.due_at).limit(1)
    return (await tx.connection.execute(query)).scalar_one_or_none()


async def of_process(tx: Transaction, process_id: str) -> list[Delivery]:
    """Return every delivery of the process, in order."""
    query = select(*_COLUMNS).where(_d.process_id == process_id).order_by(_d.sequence)
    return [_delivery(row) for row in await tx.connection.execute(query)]


def _delivery(row: Row[Any]) -> Delivery:
    values = row._asdict()
    values["record"] = json.loads(values["record"])
    values["state"] = DeliveryState(values["state"])
    return Delivery(**values)
