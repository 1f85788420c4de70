"""SQL compiled once for all tests.

SQLAlchemy keeps compiled statements by engine, and each test opens new engines: to compile them
again took a fifth of the time of the controller's tests.
"""

from typing import Any, Final

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

_STATEMENTS: Final = 5000
_of_dialect: Final[dict[type, Any]] = {}
_make_engine: Final = Engine.__init__


def _with_the_common_cache(self: Engine, pool: Any, dialect: Any, *rest: Any, **more: Any) -> None:
    _make_engine(self, pool, dialect, *rest, **more)
    self._compiled_cache = _of_dialect.setdefault(type(dialect), LRUCache(_STATEMENTS))


def compile_once() -> None:
    """Let engines of one dialect share what was compiled; dialects of one class count as equal.

    They are: every test opens its databases by `store.database`, with the same options.
    """
    Engine.__init__ = _with_the_common_cache  # type: ignore[method-assign]
    for dialect in (SQLiteDialect_aiosqlite, PGDialect_asyncpg):
        dialect.__hash__ = _hash  # type: ignore[method-assign]
        dialect.__eq__ = _equal  # type: ignore[method-assign]


def _hash(self: object) -> int:
    return hash(type(self))


def _equal(self: object, other: object) -> bool:
    return type(self) is type(other)
