"""The log of deliveries: the outcome of each attempt."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, select

from phonefarm_controller.store.bulk_writes import insert_columns
from phonefarm_controller.store.compiled_statements import columns_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.delivery import delivery_attempts

MOST_KEPT: Final = 50
"""The newest attempts that are kept of a delivery; one day has about 30."""

_a = delivery_attempts.c


@dataclass(frozen=True, kw_only=True)
class LoggedAttempt:
    """One attempt that ended: delivered, failed, gone, or lapsed with its lease."""

    delivery_id: str
    attempt: int
    gateway_id: str
    ended_at: datetime
    outcome: str
    http_status: int  # 0 when no answer came
    error: str


_NAMES = tuple(LoggedAttempt.__dataclass_fields__)
_FORGET: Final = delete(delivery_attempts).where(
    _a.delivery_id == bindparam("of_delivery"), _a.attempt <= bindparam("last")
)


async def keep(tx: Transaction, ended: Sequence[LoggedAttempt]) -> None:
    """Keep the attempts, and of each delivery only the newest MOST_KEPT."""
    if ended:
        await insert_columns(tx, delivery_attempts, columns_of(ended, _NAMES))
    too_old = [
        {"of_delivery": attempt.delivery_id, "last": attempt.attempt - MOST_KEPT}
        for attempt in ended
        if attempt.attempt > MOST_KEPT
    ]
    if too_old:
        await tx.connection.execute(_FORGET, too_old)


async def of_deliveries(
    tx: Transaction, delivery_ids: Collection[str]
) -> dict[str, list[LoggedAttempt]]:
    """Return the kept attempts by delivery, oldest first."""
    found: dict[str, list[LoggedAttempt]] = {delivery_id: [] for delivery_id in delivery_ids}
    query = (
        select(*(delivery_attempts.c[name] for name in _NAMES))
        .where(_a.delivery_id.in_(found))
        .order_by(_a.delivery_id, _a.attempt)
    )
    for row in await tx.connection.execute(query):
        found[row.delivery_id].append(LoggedAttempt(**row._asdict()))
    return found
