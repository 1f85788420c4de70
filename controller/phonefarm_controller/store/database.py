"""Opening the database, and the one way to a transaction, on SQLite and on PostgreSQL."""

import asyncio
import fcntl
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from phonefarm_common.clock import Clock
from sqlalchemy import ExceptionContext, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.transitions import CONTROLLER
from phonefarm_controller.store import postgres_connection, sqlite_connection
from phonefarm_controller.store.pending_transitions import PendingTransition, insert_for

READERS = 4
CLOSE_SECONDS = 5.0
WAL_BYTES = 16 * 1024 * 1024
"""SQLite cuts its write-ahead log to this size when the read that made it grow has ended."""
# Of PostgreSQL, for each controller.
APPLICATION = "phonefarm-controller"
CONNECTIONS = 8
CONNECTION_SECONDS = 10
"""A call waits this long for a connection."""
STATEMENT_SECONDS = 15
LOCK_SECONDS = 10
"""Waiting for a lock ends after this time; only a frozen controller holds one so long."""
IDLE_SECONDS = 5
"""How long a frozen controller's open transaction may keep others from what it has locked.

The server keeps this limit only between statements: store/stuck_transactions has the rest.
"""
_LOOK_SECONDS = 0.005
PASSING = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
"""Classes of PostgreSQL's SQLSTATE (appendix A) that say nothing of the statement: connections,
logins, a missing database, deadlocks, resources, locks, an operator's hand, the system."""

READ_ONLY = "25006"
"""The code for a write in a read-only transaction: the answer comes from a standby."""


class DatabaseTakenError(Exception):
    """Another controller uses this SQLite file; the text names the lock."""


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """One transaction. `now` is the time of the database's clock when it began.

    What it moves is noted with `actor`, who moves it, and written right before the commit.
    `rows` and `each` are for finished SQL with positional parameters (store/compiled_statements),
    on the SQLite connection itself where there is one.
    """

    connection: AsyncConnection
    now: datetime
    sqlite: sqlite_connection.InlineConnection | None = None
    actor: str = CONTROLLER
    noted: list[PendingTransition] = field(default_factory=list)
    clock: Callable[[], datetime] | None = None  # instead of the database's own

    async def later(self) -> "Transaction":
        """Return the same transaction with the time it is now by the database's clock."""
        now = await _now_in(self.connection) if self.clock is None else self.clock()
        return replace(self, now=now)

    async def rows(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run one statement and return what it found."""
        if self.sqlite is None:
            result = await self.connection.exec_driver_sql(sql, parameters)
            return [tuple(row) for row in result]
        with _wrapped(sql):
            return await self.sqlite.rows(sql, parameters)

    async def each(self, sql: str, rows: list[tuple[Any, ...]]) -> int:
        """Run one statement for each of *rows*; return how many changed, -1 when unknown."""
        if self.sqlite is None:
            return (await self.connection.exec_driver_sql(sql, rows)).rowcount
        with _wrapped(sql):
            return await self.sqlite.each(sql, rows)


class Database:
    """One database, which `open_database` opens."""

    def __init__(
        self,
        *,
        writer: AsyncEngine,
        reader: AsyncEngine,
        now: Callable[[], datetime] | None,
        file: Path | None = None,
    ) -> None:
        """Take the engines, and the *file* of an SQLite database."""
        self.file = file
        self._writer = writer
        self._reader = reader
        self._now = now
        self._under_way = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._hear: Callable[[Iterable[str]], None] | None = None
        self._hear_transitions: Callable[[Sequence[PendingTransition]], None] | None = None

    @property
    def writer(self) -> AsyncEngine:
        """Return the engine that writes, for migrations and tests."""
        return self._writer

    def on_processes_moved(self, hear: Callable[[Iterable[str]], None]) -> None:
        """Call *hear* with the processes that moved, after each commit that moved any."""
        self._hear = hear

    def on_transitions(self, hear: Callable[[Sequence[PendingTransition]], None]) -> None:
        """Call *hear* with the transitions of each commit that noted any."""
        self._hear_transitions = hear

    @asynccontextmanager
    async def writing(self, *, actor: str = CONTROLLER) -> AsyncIterator[Transaction]:
        """Run a transaction that may write: committed at the end, rolled back on any exception.

        *actor* is who moves what it moves, where nothing else is told of an item.

        Raises DatabaseBusyError when the engine is away; SQLite's writers wait in line.
        """
        with _translated(), self._counted():
            async with self._writer.begin() as connection:
                tx = await self._transaction(connection, actor)
                yield tx
                if tx.noted:
                    await tx.each(insert_for(connection.dialect), list(tx.noted))
            if tx.noted and self._hear is not None:
                self._hear(row.process_id for row in tx.noted)
            if tx.noted and self._hear_transitions is not None:
                self._hear_transitions(tx.noted)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Run a transaction that only reads."""
        with _translated(), self._counted():
            async with self._reader.connect() as connection:
                yield await self._transaction(connection, CONTROLLER)

    async def close(self) -> None:
        """Wait for transactions under way (5 s at the most) and close every connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._idle.wait()
                # Who was cancelled on the way out left its connection to a task of SQLAlchemy's.
                while self._lent():  # noqa: ASYNC110 - its pool has no event to wait for
                    await asyncio.sleep(_LOOK_SECONDS)
        self._closed = True  # or what begins now would open a connection that nobody closes
        await self._writer.dispose()
        await self._reader.dispose()

    def _lent(self) -> bool:
        pools = (self._writer.sync_engine.pool, self._reader.sync_engine.pool)
        return any(isinstance(pool, QueuePool) and pool.checkedout() for pool in pools)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._closed:
            raise DatabaseBusyError("the controller has closed its database")
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _transaction(self, connection: AsyncConnection, actor: str) -> Transaction:
        if self._now is not None:
            sync = connection.sync_connection
            driver = None if sync is None else sync.connection.driver_connection
            own = driver if isinstance(driver, sqlite_connection.InlineConnection) else None
            return Transaction(
                connection=connection, now=self._now(), sqlite=own, actor=actor, clock=self._now
            )
        # Also what begins the transaction: SQLAlchemy does so at its own first statement only.
        return Transaction(connection=connection, now=await _now_in(connection), actor=actor)


async def _now_in(connection: AsyncConnection) -> datetime:
    row = await connection.execute(text("SELECT clock_timestamp()"))
    now: datetime = row.scalar_one()
    return now.astimezone(UTC)


class _wrapped:  # noqa: N801 - used like a function
    """Raises the driver's errors as SQLAlchemy would have."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise _wrapper_of(error)(self._sql, None, error) from error


def _wrapper_of(error: sqlite3.Error) -> type[DBAPIError]:
    match error:
        case sqlite3.OperationalError():
            return OperationalError
        case sqlite3.IntegrityError():
            return IntegrityError
        case _:
            return DBAPIError


class _translated:  # noqa: N801 - used like a function
    """Turns the driver's connection errors into DatabaseBusyError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError) and _will_pass(error):
            raise DatabaseBusyError(str(error.orig)) from error
        # No free connection in time; or a refused one, before there is a driver error.
        if isinstance(error, PoolTimeoutError | OSError):
            raise DatabaseBusyError(str(error)) from error


def _will_pass(error: DBAPIError) -> bool:
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None) or ""
    return state[:2] in PASSING


def _leave_a_standby(context: ExceptionContext) -> None:
    """Give a connection up whose server has become read-only, as after a failover.

    A new connection may find the new primary; on the old one every write fails for ever.
    """
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


@asynccontextmanager
async def open_database(url: str, clock: Clock) -> AsyncIterator[Database]:
    """Open *url* (sqlite:///FILE or postgresql://...) while the block runs.

    Raises DatabaseTakenError when another controller has the SQLite file, and ConfigError for a
    URL that it cannot use.
    """
    if url.startswith("sqlite:"):
        async with _open_sqlite(Path(make_url(url).database or ""), clock) as database:
            yield database
    else:
        address = postgres_connection.read_address(url)
        settings = {
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        }
        engine = create_async_engine(
            "postgresql+asyncpg://",
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=CONNECTION_SECONDS,
            pool_pre_ping=False,
            async_creator=lambda: postgres_connection.connect(
                address, application=APPLICATION, settings=settings
            ),
        )
        event.listen(engine.sync_engine, "handle_error", _leave_a_standby)
        database = Database(writer=engine, reader=engine, now=None)
        try:
            yield database
        finally:
            await database.close()


def shown(url: str) -> str:
    """Return the URL of a database without its password, for people."""
    if url.startswith("sqlite:"):
        return url
    return postgres_connection.read_address(url).shown


@asynccontextmanager
async def _open_sqlite(path: Path, clock: Clock) -> AsyncIterator[Database]:
    if not path.name:
        raise ValueError("an SQLite database needs a file: sqlite:////absolute/path.db")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock").open("w")
    _take(lock, path)
    writer = _sqlite_engine(path, begin="BEGIN IMMEDIATE", connections=1)
    reader = _sqlite_engine(path, begin="BEGIN", connections=READERS)
    database = Database(writer=writer, reader=reader, now=clock.now, file=path)
    try:
        # A call that is cancelled while it connects would leave the new connection to nobody.
        await _warm(writer, 1)
        await _warm(reader, READERS)
        yield database
    finally:
        await database.close()
        lock.close()


async def _warm(engine: AsyncEngine, connections: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            await stack.enter_async_context(engine.connect())


def _take(lock: IO[str], path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DatabaseTakenError(
            f"another running controller uses {path}, and SQLite allows only one controller: stop "
            "the other controller, or use PostgreSQL"
        ) from error


def _sqlite_engine(path: Path, *, begin: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        async_creator=lambda: sqlite_connection.connect(path),
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "cache_size = -65536",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # The driver would begin DEFERRED, and two readers that become writers deadlock.
    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
