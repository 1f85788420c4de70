"""Bulk writes that check their own condition."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Table, bindparam, insert, update

from phonefarm_controller.store.compiled_statements import Column, Statement
from phonefarm_controller.store.database import Transaction

MOST_PARAMETERS: Final = 10_000


class LostRowError(Exception):
    """A locked row has changed since it was read: a bug; nothing is committed."""


def any_of(name: str) -> "BindParameter[Sequence[str]]":
    """Return the parameter of an `IN`, to be given a list of any length under *name*."""
    return bindparam(name, expanding=True)


def in_parts(names: Iterable[str]) -> Iterator[list[str]]:
    """Return the names, each once, in lists that a statement can carry as parameters.

    PostgreSQL's protocol takes 32,767 in all, SQLite 32,766.
    """
    distinct = list(set(names))
    for start in range(0, len(distinct), MOST_PARAMETERS):
        yield distinct[start : start + MOST_PARAMETERS]


async def insert_rows(tx: Transaction, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*, which all name the same columns; nothing happens for none."""
    if rows:
        await insert_columns(tx, table, {name: [row[name] for row in rows] for name in rows[0]})


async def insert_columns(tx: Transaction, table: Table, columns: Mapping[str, Column]) -> None:
    """Insert a row for each value of the columns."""
    await _insert_into(table, tuple(columns)).each(tx, columns)


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
    if rows:
        was = {key: [row[f"was_{key}"] for row in rows] for key in keys}
        columns = {change: [row[change] for row in rows] for change in changes}
        await update_columns_if(tx, table, was=was, columns=columns)


async def update_columns_if(
    tx: Transaction, table: Table, *, was: Mapping[str, Column], columns: Mapping[str, Column]
) -> None:
    """Write *columns* to the rows that still are as *was* says; LostRowError when one is not."""
    wanted = len(next(iter(was.values())))
    statement = _update_if(table, tuple(was), tuple(columns))
    given = {f"to_{name}": column for name, column in columns.items()}
    given |= {f"was_{name}": column for name, column in was.items()}
    changed = await statement.each(tx, given)
    # asyncpg does not count rows of an executemany; there the row locks hold the condition.
    if changed not in {-1, wanted}:
        raise LostRowError(f"{table.name}: {wanted - changed} rows changed meanwhile")


@functools.cache
def _insert_into(table: Table, columns: tuple[str, ...]) -> Statement:
    return Statement(insert(table), columns=columns)


@functools.cache
def _update_if(table: Table, keys: tuple[str, ...], changes: tuple[str, ...]) -> Statement:
    return Statement(
        update(table)
        .where(*(table.c[key] == bindparam(f"was_{key}", required=True) for key in keys))
        .values({change: bindparam(f"to_{change}", required=True) for change in changes})
    )
