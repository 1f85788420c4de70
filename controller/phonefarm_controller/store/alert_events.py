"""Alert events: deliveries that belong to no process. At most one of them is unsettled."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select

from phonefarm_controller.model.states import DeliveryState
from phonefarm_controller.store.bulk_writes import insert_rows, update_if
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.deliveries import CHANGING, Delivery
from phonefarm_controller.store.schema.delivery import alert_events

MOST_KEPT: Final = 100

_e = alert_events.c
_NAMES: Final = tuple(column.name for column in alert_events.columns)
_NEWEST: Final = select(alert_events).order_by(_e.sequence.desc())
_IS_UNSETTLED: Final = _e.state.in_((DeliveryState.PENDING, DeliveryState.LEASED))


async def insert(tx: Transaction, event: Delivery) -> None:
    """Insert an event, and remove the oldest beyond MOST_KEPT."""
    row = {name: getattr(event, name) for name in _NAMES} | {"record": json.dumps(event.record)}
    await insert_rows(tx, alert_events, [row])
    oldest = event.sequence - MOST_KEPT
    await tx.connection.execute(delete(alert_events).where(_e.sequence <= oldest))


async def newest(tx: Transaction, *, limit: int = MOST_KEPT) -> list[Delivery]:
    """Return the newest events, the newest first."""
    return _events(await tx.connection.execute(_NEWEST.limit(limit)))


async def lock_newest(tx: Transaction) -> Delivery | None:
    """Return the newest event, locked; None before the first."""
    found = _events(await tx.connection.execute(_NEWEST.limit(1).with_for_update()))
    return found[0] if found else None


async def last_delivered(tx: Transaction, event_type: str, *, url: str) -> Delivery | None:
    """Return the newest delivered event of the type for *url*; None without one."""
    query = _NEWEST.where(
        _e.state == DeliveryState.DELIVERED, _e.milestone == event_type, _e.url == url
    )
    found = _events(await tx.connection.execute(query.limit(1)))
    return found[0] if found else None


async def lock_due(tx: Transaction) -> list[Delivery]:
    """Return, locked, the event that may be leased now; none if another leases it just now."""
    query = _NEWEST.where(_IS_UNSETTLED, _e.due_at <= tx.now).limit(1)
    rows = await tx.connection.execute(query.with_for_update(skip_locked=True))
    return _events(rows)


async def lock_leased(tx: Transaction, tokens: Mapping[str, str]) -> dict[str, Delivery]:
    """Return, locked, the leased event whose token is the one given by its id."""
    query = _NEWEST.where(_e.state == DeliveryState.LEASED).with_for_update()
    found = _events(await tx.connection.execute(query))
    return {e.delivery_id: e for e in found if e.lease_token == tokens.get(e.delivery_id)}


async def save(tx: Transaction, before: Mapping[str, Delivery], after: Sequence[Delivery]) -> None:
    """Write moved events, each only if its state and attempts are those of *before*."""
    rows = [
        {name: getattr(event, name) for name in CHANGING}
        | {
            "was_sequence": event.sequence,
            "was_state": before[event.delivery_id].state,
            "was_attempts": before[event.delivery_id].attempts,
        }
        for event in after
    ]
    keys = ("sequence", "state", "attempts")
    await update_if(tx, alert_events, keys=keys, changes=CHANGING, rows=rows)


async def next_due(tx: Transaction) -> datetime | None:
    """Return when the unsettled event is due, which may be in the past; None without one."""
    query = select(_e.due_at).where(_IS_UNSETTLED).limit(1)
    due: datetime | None = (await tx.connection.execute(query)).scalar_one_or_none()
    return due


def _events(rows: Any) -> list[Delivery]:
    return [_event(row._asdict()) for row in rows]


def _event(row: Mapping[str, Any]) -> Delivery:
    values = dict(row)
    values["record"] = json.loads(values["record"])
    values["state"] = DeliveryState(values["state"])
    return Delivery(process_id="", **values)
