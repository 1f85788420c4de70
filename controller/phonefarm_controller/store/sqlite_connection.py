"""An aiosqlite connection that runs statements where they are awaited, and commits in its thread.

A statement on a warm page costs SQLite some 20 microseconds; a hop to aiosqlite's thread and back
costs hundreds, several times per statement, and under load waits for the interpreter's lock each
time. Only what waits for the disk, opening and committing, is worth the hop. See docs/adr/0006.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

_LONGEST_WAIT_SECONDS = 10.0


class InlineConnection(aiosqlite.Connection):
    """Behaves like its base; see the module."""

    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Close the connection in its thread, and end the thread.

        Once: aiosqlite would ask a thread that has ended again, and wait for ever. SQLAlchemy stops
        a connection while it closes when the closing call is cancelled.
        """
        if self._stopped is None:
            self._tx.put_nowait((None, self._roll_back))
            self._stopped = super().stop()
        return self._stopped

    async def close(self) -> None:
        """Close in the thread; a second call waits for the first."""
        stopped = self.stop()
        if stopped is not None:
            await asyncio.shield(stopped)

    def _roll_back(self) -> None:
        # A closed connection lives on, and with it its transaction and its lock, for as long as
        # anybody holds a cursor of it with rows unread: the traceback of a cancelled call does.
        if self._connection is not None and self._connection.in_transaction:
            self._connection.rollback()

    async def commit(self) -> None:
        """Commit in the thread: it waits for the disk."""
        await super()._execute(self._conn.commit)  # type: ignore[no-untyped-call]

    async def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return what it found."""
        await asyncio.sleep(0)  # a turn of the loop, as in _execute
        return self._conn.execute(sql, parameters).fetchall()

    async def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each of *rows*; return how many rows of the table changed."""
        await asyncio.sleep(0)
        return self._conn.executemany(sql, rows).rowcount

    # aiosqlite sends every call through here (0.22); tests/controller checks that it still does.
    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")
        # gRPC accepts one call per turn of the loop: a transaction without a turn would starve it.
        await asyncio.sleep(0)
        return fn(*args, **kwargs)


def connect(path: Path) -> InlineConnection:
    """Return a connection to *path*, to be awaited; BEGIN is the caller's."""

    def connector() -> sqlite3.Connection:
        # Used from one thread at a time: the loop's, or the connection's own while that is awaited.
        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_LONGEST_WAIT_SECONDS
        )

    connection = InlineConnection(connector, iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy's dialect does
    return connection
