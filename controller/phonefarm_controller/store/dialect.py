"""The difference between PostgreSQL and SQLite: an insert when the row already exists."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, TextClause
from sqlalchemy.dialects import postgresql, sqlite

from phonefarm_controller.store.database import Transaction


def insert_into(tx: Transaction, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insert that can say what happens on a conflict."""
    build = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
    return build(table)


async def upsert(
    tx: Transaction,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
    changes: Iterable[str] | None = None,
) -> None:
    """Insert *rows*, in this order; where one of the *key* is there, replace its *changes*.

    All rows name the same columns. Without *changes* all of them but the key are replaced. Nothing
    happens for no rows.
    """
    if not rows:
        return
    statement = insert_into(tx, table)
    replaced = [name for name in rows[0] if name not in key] if changes is None else changes
    statement = statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in replaced}
    )
    await tx.connection.execute(statement, rows)


async def insert_missing(tx: Transaction, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of *rows* that are not there; nothing happens for none."""
    if rows:
        await tx.connection.execute(insert_into(tx, table).on_conflict_do_nothing(), rows)


async def insert_unless_there(
    tx: Transaction,
    table: Table,
    values: Mapping[str, Any],
    *,
    key: Sequence[str] | None = None,
    where: ColumnElement[bool] | TextClause | None = None,
) -> bool:
    """Insert the row unless one (of those *where*) has its *key*; return whether it was inserted.

    Without a key any row that the table's constraints hold against it counts.
    """
    statement = insert_into(tx, table).values(values)
    result = await tx.connection.execute(
        statement.on_conflict_do_nothing(index_elements=key, index_where=where)
    )
    return result.rowcount == 1
