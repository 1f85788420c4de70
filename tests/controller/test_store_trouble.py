"""A database in trouble is told as one error, whatever the driver calls it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from phonefarm_common.clock import SystemClock
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import sqlite_connection
from phonefarm_controller.store.database import (
    Database,
    DatabaseTakenError,
    Transaction,
    open_database,
)
from phonefarm_controller.store.migrate import migrate
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from support.postgres_server import PostgresServer

PATIENCE = 180.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open a migrated database."""
    async with open_database(url, SystemClock()) as database:
        await migrate(database)
        yield database


async def perform(database: Database, *statements: str) -> None:
    """Run the statements in one transaction."""
    async with database.writing() as tx:
        for statement in statements:
            await tx.connection.execute(text(statement))


async def test_a_broken_rule_is_not_taken_for_trouble(database_url: str) -> None:
    """A constraint that refuses a row is a bug of ours, and nothing to wait for."""
    async with opened(database_url) as database:
        with pytest.raises(IntegrityError):
            await perform(database, "INSERT INTO groups VALUES ('car', 'n', 'm')")


async def test_a_second_controller_on_an_sqlite_file_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """SQLite belongs to one controller; the lock goes with its owner."""
    url = f"sqlite:///{tmp_path_factory.mktemp('farm') / 'farm.db'}"

    async with opened(url):
        with pytest.raises(DatabaseTakenError, match=r"another running controller uses .*farm\.db"):
            async with opened(url):
                pass

    async with opened(url):
        pass


@pytest.mark.postgres
async def test_a_deadlock_is_trouble_for_one_and_a_commit_for_the_other(postgres_url: str) -> None:
    """PostgreSQL ends one of two; it is told so that it can come again."""
    async with opened(postgres_url) as database:
        await perform(
            database, "INSERT INTO groups VALUES ('phone', 'a', 'x'), ('phone', 'b', 'x')"
        )
        first_has_a, second_has_b = asyncio.Event(), asyncio.Event()

        async def change(one: str, other: str, mine: asyncio.Event, theirs: asyncio.Event) -> None:
            update = "UPDATE groups SET member_id = 'y' WHERE name = :name"
            async with database.writing() as tx:
                await tx.connection.execute(text(update), {"name": one})
                mine.set()
                await theirs.wait()
                await tx.connection.execute(text(update), {"name": other})

        endings = await asyncio.gather(
            change("a", "b", first_has_a, second_has_b),
            change("b", "a", second_has_b, first_has_a),
            return_exceptions=True,
        )

        assert sorted(type(ending).__name__ for ending in endings) == [
            "DatabaseBusyError",
            "NoneType",
        ]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("setting", "statement"),
    [
        ("SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(5)"),
        ("SET LOCAL lock_timeout = '50ms'", "LOCK TABLE groups"),
        ("SELECT 1", "SELECT pg_terminate_backend(pg_backend_pid())"),
    ],
)
async def test_a_statement_the_server_gives_up_is_trouble(
    postgres_url: str, setting: str, statement: str
) -> None:
    """Time limits and lost connections are told alike, and the next transaction works."""
    async with opened(postgres_url) as database:
        async with database.writing() as holder:
            await holder.connection.execute(text("LOCK TABLE groups"))

            with pytest.raises(DatabaseBusyError):
                await perform(database, setting, statement)

        await perform(database, "INSERT INTO groups VALUES ('phone', 'a', 'x')")


@pytest.mark.postgres
async def test_a_server_that_takes_no_connections_is_trouble(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """A server that starts up or shuts down refuses in its own words; afterwards all is well."""
    name = postgres_url.rpartition("/")[2]
    async with opened(postgres_url) as database:
        postgres.shut_out(name)

        for _ in range(12):  # more than the pool has connections
            with pytest.raises(DatabaseBusyError):
                await perform(database, "SELECT 1")

        postgres.let_in(name)
        await perform(database, "SELECT 1")


@pytest.mark.postgres
async def test_a_pool_without_a_free_connection_is_trouble(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a connection has an end, which is not a surprise."""
    async with opened(postgres_url) as database:
        monkeypatch.setattr(database.writer.pool, "_timeout", 0.05)
        held, release = asyncio.Barrier(9), asyncio.Event()

        async def hold() -> None:
            async with database.writing():
                await held.wait()
                await release.wait()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(hold())
            await held.wait()
            with pytest.raises(DatabaseBusyError):
                await perform(database, "SELECT 1")
            release.set()


@pytest.mark.parametrize("gaps", [(), (1,), (1, 1)], ids=["once", "twice", "thrice"])
async def test_a_call_cancelled_at_any_step_leaves_neither_lock_nor_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gaps: tuple[int, ...]
) -> None:
    """The next writer begins at once, and closing closes every connection there ever was."""
    made: list[sqlite_connection.InlineConnection] = []
    connect = sqlite_connection.connect

    def remembered(path: Path) -> sqlite_connection.InlineConnection:
        made.append(connect(path))
        return made[-1]

    monkeypatch.setattr(sqlite_connection, "connect", remembered)
    monkeypatch.setattr(
        sqlite_connection, "_LONGEST_WAIT_SECONDS", 5.0
    )  # its thread takes a moment
    cancelled = 0
    async with open_database(f"sqlite:///{tmp_path / 'farm.db'}", SystemClock()) as database:
        for steps in range(1, 30):
            for begin in (database.reading, database.writing):
                call = asyncio.ensure_future(_read_once(begin()))
                for turns in (steps, *gaps):
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    call.cancel()
                await asyncio.wait([call])
                cancelled += call.cancelled()
                await _read_once(database.writing())

    assert cancelled > len(gaps)
    assert [one for one in made if one._connection is not None] == []


async def _read_once(transaction: AbstractAsyncContextManager[Transaction]) -> None:
    async with transaction as tx:
        await tx.connection.execute(text("SELECT 1"))


async def test_a_closed_database_opens_no_connection(database_url: str) -> None:
    """Who comes late is told so: a connection of theirs would be closed by nobody."""
    async with opened(database_url) as database:
        pass

    for begin in (database.reading, database.writing):
        with pytest.raises(DatabaseBusyError):
            await _read_once(begin())
