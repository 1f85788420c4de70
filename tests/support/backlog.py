"""A backlog: more items than anybody should read to find the next one."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from phonefarm_controller.store.schema.work import capability_requests, queue_items
from sqlalchemy import (
    ColumnElement,
    FromClause,
    String,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    text,
)
from support.world import World

SERIALS: Final = [f"b{number:02d}" for number in range(20)]
"""The phones that are here."""
RESTS: Final = "acc-rests"
"""An account of the first of them that cannot work now."""
Changes = Mapping[str, ColumnElement[Any]]
"""Columns of the backlog's items, from their numbers."""


async def furnish(world: World) -> None:
    """Let the agent `north` have the phones, each with an account that can work."""
    await world.furnish("north", *SERIALS)
    await world.put_account(RESTS, phone_id=f"ph-{SERIALS[0]}", active=False)


def _waiting(_: datetime, number: ColumnElement[int]) -> Changes:
    """Half for any phone, half for the phones here."""
    serial = func.substr(cast(100 + number % len(SERIALS), String), 2)
    bound = number % 2 == 0
    return {
        "want_phone_id": case((bound, literal("ph-b") + serial), else_=null()),
        "want_account_id": case((bound, literal("acc-b") + serial), else_=null()),
    }


def _elsewhere(_: datetime, number: ColumnElement[int]) -> Changes:
    """For phones that are not here."""
    name = cast(number % 1000, String)
    return {
        "want_phone_id": literal("ph-away-") + name,
        "want_account_id": literal("acc-away-") + name,
        "priority": literal(9),
    }


def _later(now: datetime, _: ColumnElement[int]) -> Changes:
    """Due tomorrow, and before all others then."""
    due = now + timedelta(days=1)
    return {
        "state": literal("SCHEDULED"),
        "ready": literal(value=False),
        "ready_at": literal(due, queue_items.c.ready_at.type),
        "priority": literal(9),
    }


def _resting(_: datetime, __: ColumnElement[int]) -> Changes:
    """For a phone here, by an account that cannot work now."""
    return {
        "want_phone_id": literal(f"ph-{SERIALS[0]}"),
        "want_account_id": literal(RESTS),
        "priority": literal(9),
    }


SHAPES: Final = {
    "waiting": _waiting,
    "elsewhere": _elsewhere,
    "later": _later,
    "resting": _resting,
}
"""Ways in which much can wait."""


async def pile_up(world: World, count: int, shape: Callable[..., Changes]) -> None:
    """Put that many items into the queue, each of a process of its own."""
    process_id = await world.accept()
    async with world.database.writing() as tx:
        each = numbers(count)
        name = literal("backlog-") + cast(each.c.n, String)
        asked = {"process_id": name, "request_id": name}
        items = {"process_id": name, "item_id": name, **shape(tx.now, each.c.n)}
        for table, changed in ((capability_requests, asked), (queue_items, items)):
            columns = [changed.get(c.name, c).label(c.name) for c in table.c]
            rows = select(*columns).select_from(table).join(each, literal(value=True))
            rows = rows.where(table.c.process_id == process_id)
            await tx.connection.execute(insert(table).from_select(list(table.c.keys()), rows))
        if tx.connection.dialect.name == "postgresql":  # as its autovacuum would
            await tx.connection.execute(text("ANALYZE"))


def numbers(count: int) -> FromClause:
    """Return the numbers from 1 to *count* as the column `n` of something to join."""
    first = select(literal(1).label("n")).cte("numbers", recursive=True)
    return first.union_all(select(first.c.n + 1).where(first.c.n < count))
