"""Deliveries: the transactional outbox."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select, text, update

from phonefarm_controller.model.states import DeliveryState
from phonefarm_controller.store.bulk_writes import insert_columns, update_if
from phonefarm_controller.store.compiled_statements import Statement, among, columns_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.delivery import deliveries
from phonefarm_controller.store.schema.types import Instant

_d = deliveries.c
_LOOKED_AT = 500
_STANDING = Statement(
    select(_d.process_id, _d.sequence, _d.state, _d.due_at).where(
        among(_d.process_id, "ids"),
        or_(_d.state == DeliveryState.STOPPED, _d.state == DeliveryState.PENDING),
    )
)
CHANGING: Final = (
    "state",
    "attempts",
    "attempts_before",
    "due_at",
    "first_attempt_at",
    "lease_token",
    "gateway_id",
    "settled_at",
    "last_error",
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One callback, or one alert event, to send."""

    delivery_id: str
    process_id: str  # empty for an alert event
    sequence: int
    milestone: str
    emitted_at: datetime
    url: str
    record: Mapping[str, Any]
    due_at: datetime  # pending: try from here on; leased: the lease ends here
    receiver: str = ""
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    first_attempt_at: datetime | None = None
    attempts_before: int = 0  # those before the last replay
    lease_token: str | None = None
    gateway_id: str | None = None  # who holds the lease, or held it last
    settled_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryConstraint:
    """How the earlier deliveries of a process limit its next one.

    `closed`: its receiver is gone for good (410) and nobody has asked for a replay since.
    `waits_until`: an earlier one is tried again only then; before it the next has no turn.
    """

    closed: bool = False
    waits_until: datetime | None = None


_NAMES = tuple(Delivery.__dataclass_fields__)
RECORD: Final = _NAMES.index("record")
COLUMNS: Final = [deliveries.c[name] for name in _NAMES]


@dataclass(frozen=True, kw_only=True)
class FailingReceiver:
    """A receiver whose last attempts failed, and its waiting deliveries; the oldest is shown."""

    receiver: str  # scheme://host:port; empty for deliveries of release 0.1.0
    url: str
    count: int
    since: datetime
    process_id: str
    error: str


async def insert(tx: Transaction, new: Sequence[Delivery]) -> None:
    """Insert new deliveries."""
    if new:
        columns = columns_of(new, _NAMES)
        columns["record"] = [json.dumps(record) for record in columns["record"]]
        await insert_columns(tx, deliveries, columns)


async def constraints_of(
    tx: Transaction, newest: Mapping[str, int]
) -> dict[str, DeliveryConstraint]:
    """Return, by process, what its earlier deliveries mean for its next one.

    *newest* gives the sequence of the newest delivery by process.
    """
    if not newest:
        return {}
    found: dict[str, DeliveryConstraint] = {}
    for process_id, sequence, state, due_at in await _STANDING.rows(tx, ids=list(newest)):
        before = found.get(process_id, DeliveryConstraint())
        if state == DeliveryState.STOPPED:
            closed = before.closed or sequence == newest[process_id]
            found[process_id] = replace(before, closed=closed)
        elif due_at > tx.now:
            until = min(before.waits_until or due_at, due_at)
            found[process_id] = replace(before, waits_until=until)
    return found


async def lock_leased(tx: Transaction, tokens: Mapping[str, str]) -> dict[str, Delivery]:
    """Return, locked in id order, the leased deliveries whose token is the one given by id."""
    query = (
        select(*COLUMNS)
        .where(_d.delivery_id.in_(set(tokens)), _d.state == DeliveryState.LEASED)
        .order_by(_d.delivery_id)
        .with_for_update()
    )
    rows = await tx.connection.execute(query)
    return {
        row.delivery_id: delivery_of_row(row)
        for row in rows
        if row.lease_token == tokens[row.delivery_id]
    }


async def save(tx: Transaction, before: Mapping[str, Delivery], after: Sequence[Delivery]) -> None:
    """Write moved deliveries, each only if its state and attempts are those of *before*."""
    rows = [
        {name: getattr(delivery, name) for name in CHANGING}
        | {
            "was_delivery_id": delivery.delivery_id,
            "was_state": before[delivery.delivery_id].state,
            "was_attempts": before[delivery.delivery_id].attempts,
        }
        for delivery in sorted(after, key=lambda delivery: delivery.delivery_id)
    ]
    keys = ("delivery_id", "state", "attempts")
    await update_if(tx, deliveries, keys=keys, changes=CHANGING, rows=rows)


async def processes_of(tx: Transaction, delivery_ids: Collection[str]) -> set[str]:
    """Return the processes of these deliveries."""
    query = select(_d.process_id).where(_d.delivery_id.in_(set(delivery_ids)))
    return set((await tx.connection.execute(query)).scalars())


async def delay_following(tx: Transaction, waiting: Sequence[Delivery]) -> None:
    """Let nothing later of a process be due before its delivery in *waiting* is.

    It could not be lent anyhow; this keeps it out of the way of those who look for what can.
    """
    if not waiting:
        return
    statement = (
        update(deliveries)
        .where(
            _d.process_id == bindparam("of_process"),
            _d.sequence > bindparam("after"),
            _d.state == DeliveryState.PENDING,
            _d.due_at < bindparam("until", type_=Instant),
        )
        .values(due_at=bindparam("until", type_=Instant))
    )
    rows = [
        {"of_process": d.process_id, "after": d.sequence, "until": d.due_at}
        for d in sorted(waiting, key=lambda delivery: delivery.process_id)
    ]
    await tx.connection.execute(statement, rows)


async def stop_remaining(tx: Transaction, process_ids: Iterable[str]) -> None:
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


async def oldest_undelivered(tx: Transaction) -> datetime | None:
    """Return when the oldest of the next deliveries was made; None when all are settled.

    Of those that are due first: with many receivers away at once an older one may be missed.
    """
    some = (
        select(_d.emitted_at)
        .where(text("state IN ('pending', 'leased')"))
        .order_by(_d.due_at)
        .limit(_LOOKED_AT)
        .subquery()
    )
    query = select(func.min(some.c.emitted_at, type_=_d.emitted_at.type))
    oldest: datetime | None = (await tx.connection.execute(query)).scalar_one_or_none()
    return oldest


async def failing_receivers(tx: Transaction) -> list[FailingReceiver]:
    """Return the receivers to which an attempt failed and is due again, the longest waiting first.

    Of the deliveries that are due first, so many at the most that this takes no time.
    """
    query = (
        select(_d.receiver, _d.url, _d.emitted_at, _d.process_id, _d.last_error)
        .where(text("state IN ('pending', 'leased')"))
        .order_by(_d.due_at)
        .limit(_LOOKED_AT)
    )
    waiting: dict[str, list[Any]] = {}
    for row in await tx.connection.execute(query):
        waiting.setdefault(row.receiver or row.url, []).append(row)
    found = []
    for rows in waiting.values():
        failed = sorted((r for r in rows if r.last_error), key=lambda row: row.emitted_at)
        if failed:
            found.append(
                FailingReceiver(
                    receiver=failed[0].receiver,
                    url=failed[0].url,
                    count=len(rows),
                    since=failed[0].emitted_at,
                    process_id=failed[0].process_id,
                    error=failed[0].last_error,
                )
            )
    return sorted(found, key=lambda each: each.since)


async def of_process(tx: Transaction, process_id: str, *, locked: bool = False) -> list[Delivery]:
    """Return every delivery of the process, in order."""
    query = select(*COLUMNS).where(_d.process_id == process_id).order_by(_d.sequence)
    if locked:
        query = query.with_for_update()
    return [delivery_of_row(row) for row in await tx.connection.execute(query)]


def delivery_of_row(row: Sequence[Any]) -> Delivery:
    """Return the delivery in a row of COLUMNS."""
    values = dict(zip(_NAMES, row, strict=True))
    values["record"] = json.loads(values["record"])
    values["state"] = DeliveryState(values["state"])
    return Delivery(**values)
