"""Bulk writes that carry their own condition."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Insert, Table, Update, bindparam, insert, update

from phonefarm_controller.store.database import Transaction


class LostRowError(Exception):
    """A locked row was not as it was read: a bug; nothing is committed."""


def any_of(name: str) -> "BindParameter[Sequence[str]]":
    """Return the parameter of an `IN`, to be given a list of any length under *name*."""
    return bindparam(name, expanding=True)


async def insert_rows(tx: Transaction, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*; nothing happens for none."""
    if rows:
        await tx.connection.execute(_insert_into(table), list(rows))


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
    statement = _update_if(table, tuple(keys), tuple(changes))
    named = [(f"to_{change}", change) for change in changes]
    conditions = [f"was_{key}" for key in keys]
    parameters = [
        {to: row[change] for to, change in named} | {was: row[was] for was in conditions}
        for row in rows
    ]
    result = await tx.connection.execute(statement, parameters)
    # asyncpg does not count rows of an executemany; there the row locks hold the condition.
    if result.rowcount not in {-1, len(rows)}:
        raise LostRowError(f"{table.name}: {len(rows) - result.rowcount} rows moved meanwhile")


# Building a statement and its cache key costs as much as running it: the hot ones are built once.
@functools.cache
def _insert_into(table: Table) -> Insert:
    return insert(table)


@functools.cache
def _update_if(table: Table, keys: tuple[str, ...], changes: tuple[str, ...]) -> Update:
    return (
        update(table)
        .where(*(table.c[key] == bindparam(f"was_{key}") for key in keys))
        .values({change: bindparam(f"to_{change}") for change in changes})
    )
