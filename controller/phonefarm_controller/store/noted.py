"""What a transaction has noted of its moves; written in one statement right before the commit."""

import functools
from typing import NamedTuple

from sqlalchemy import Dialect, insert

from phonefarm_controller.store.tables import transitions


class Noted(NamedTuple):
    """A row of transitions, as the engines store it, without its number."""

    process_id: str
    item_id: str | None
    at: int  # microseconds since 1970
    from_state: str | None
    to_state: str
    actor: str
    reason: str
    attempt: int
    phone_id: str | None
    account_id: str | None


@functools.cache
def insert_for(dialect: Dialect) -> str:
    """Return the insert in the dialect's own words, its values in the order of Noted."""
    # Inline: else PostgreSQL would be asked to return the number.
    statement = insert(transitions).inline()
    return str(statement.compile(dialect=dialect, column_keys=Noted._fields))
