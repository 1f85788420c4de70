"""Counts open work for the metrics: items by state, the age of the oldest, callbacks owed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from phonefarm_controller.model.states import DELIVERY_SETTLED, ITEM_TERMINAL, ItemState
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.delivery import deliveries
from phonefarm_controller.store.schema.work import queue_items

_q = queue_items.c
_d = deliveries.c
_OPEN = tuple(state for state in ItemState if state not in ITEM_TERMINAL)


@dataclass(frozen=True, kw_only=True)
class OpenItems:
    """The open items of one app and capability in one state."""

    app: str
    capability: str
    state: str
    count: int
    oldest_ready_at: datetime
    """The time from which the oldest may be claimed; in the future if none is due."""


async def open_items(tx: Transaction) -> list[OpenItems]:
    """Return how many items of each app, capability and state are not ended."""
    oldest = func.min(_q.ready_at, type_=_q.ready_at.type)
    query = (
        select(_q.app, _q.capability, _q.state, func.count(), oldest)
        .where(_q.state.in_(_OPEN))
        .group_by(_q.app, _q.capability, _q.state)
    )
    return [
        OpenItems(app=app, capability=capability, state=state, count=count, oldest_ready_at=ready)
        for app, capability, state, count, ready in await tx.connection.execute(query)
    ]


async def owed_deliveries(tx: Transaction) -> Mapping[str, int]:
    """Return how many callbacks are in each state that is not settled."""
    query = (
        select(_d.state, func.count())
        .where(_d.state.not_in(tuple(DELIVERY_SETTLED)))
        .group_by(_d.state)
    )
    found = await tx.connection.execute(query)
    return {str(state): int(count) for state, count in found}
