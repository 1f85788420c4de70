"""Collects the transitions of a transaction and writes them right before the commit."""

import functools
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Dialect, bindparam, func, insert, literal_column

from phonefarm_controller.store.schema.work import transitions


class PendingTransition(NamedTuple):
    """A row of transitions, as the engines store it, without its number."""

    process_id: str
    item_id: str | None
    at: int  # microseconds since 1970; PostgreSQL may date it later, see insert_for
    from_state: str | None
    to_state: str
    actor: str
    reason: str
    attempt: int
    phone_id: str | None
    account_id: str | None


_WRITTEN: Final[ColumnElement[int]] = literal_column(
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)", BigInteger
)


@functools.cache
def insert_for(dialect: Dialect) -> str:
    """Return the insert in the dialect's own words, its values in the order of Noted.

    PostgreSQL dates a transition when it is written, which is after every lock it needed was had:
    by the transaction's beginning, one that waited for a lock would date its move before the move
    it waited for. On SQLite a transaction begins when it has the one lock there is.
    """
    # Inline: else PostgreSQL would be asked to return the number.
    statement = insert(transitions).inline()
    if dialect.name == "postgresql":
        begun = bindparam("begun", type_=BigInteger)
        statement = statement.values(at=func.greatest(begun, _WRITTEN))
    return str(statement.compile(dialect=dialect, column_keys=PendingTransition._fields))
