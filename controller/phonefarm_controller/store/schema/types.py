"""Column types, and constraints and indexes that every engine understands alike."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Index,
    MetaData,
    Text,
    TextClause,
    TypeDecorator,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment as microseconds since 1970 in UTC: the same integer on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the integer to store."""
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the aware moment."""
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


class SafeText(TypeDecorator[str]):
    """Text. A NUL, which PostgreSQL cannot hold, becomes U+FFFD, which is part of no name."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what every engine can hold."""
        return None if value is None else without_nul(value)


def without_nul(text: str) -> str:
    """Return the text with U+FFFD for each NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def one_of(column: str, states: Iterable[StrEnum]) -> CheckConstraint:
    """Return the CHECK that the column holds one of the states."""
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def partial_index(name: str, *columns: Any, where: TextClause, unique: bool = False) -> None:
    """Make an index of the rows that *where* names, in the same words on each engine."""
    Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def all_of(*clauses: TextClause) -> TextClause:
    """Join the conditions with AND, in their very words."""
    return text(" AND ".join(str(clause) for clause in clauses))
