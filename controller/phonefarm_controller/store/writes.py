"""Bulk writes that carry their own condition."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, insert, update

from phonefarm_controller.store.database import Transaction


class LostRowError(Exception):
    """A locked row was not as it was read: a bug; nothing is committed."""


async def insert_rows(tx: Transaction, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*; nothing happens for none."""
    if rows:
        await tx.connection.execute(insert(table), list(rows))


async def update_if(
    tx: Transaction,
    table: Table,
    *,
    keys: Sequence[str],
    changes: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Update each row where its *keys* still hold; LostRowError when any does not.

    A row maps `was_<key>` and `<change>` to values.
    """
    if not rows:
        return
    statement = (
        update(table)
        .where(*(table.c[key] == bindparam(f"was_{key}") for key in keys))
        .values({change: bindparam(f"to_{change}") for change in changes})
    )
    parameters = [
        {f"was_{key}": row[f"was_{key}"] for key in keys}
        | {f"to_{change}": row[change] for change in changes}
        for row in rows
    ]
    result = await tx.connection.execute(statement, parameters)
    # asyncpg does not count rows of an executemany; there the row locks hold the condition.
    if result.rowcount not in {-1, len(rows)}:
        raise LostRowError(f"{table.name}: {len(rows) - result.rowcount} rows moved meanwhile")
