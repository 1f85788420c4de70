"""No statement, no wait for a lock and no forgotten transaction lasts for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from phonefarm_common.clock import SystemClock
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import database as limits
from phonefarm_controller.store import stuck_transactions
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.migrate import _LOCK, migrate
from sqlalchemy import make_url, text

pytestmark = pytest.mark.postgres


@asynccontextmanager
async def _two(url: str) -> AsyncIterator[tuple[Database, Database]]:
    clock = SystemClock()
    async with open_database(url, clock) as one, open_database(url, clock) as other:
        yield one, other


async def _run(database: Database, *statements: str) -> None:
    async with database.writing() as tx:
        for sql in statements:
            await tx.connection.execute(text(sql))


async def _stand_still(database: Database, meanwhile: Awaitable[None]) -> None:
    """Stop within a transaction until something else has come about."""
    async with database.writing() as tx:
        await tx.connection.execute(text("LOCK TABLE notes"))
        await tx.connection.execute(text("INSERT INTO notes VALUES ('late')"))
        await meanwhile
        await tx.connection.execute(text("INSERT INTO notes VALUES ('later')"))


async def test_a_statement_that_lasts_too_long_is_busy_and_writes_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told to come again; what the transaction wrote before is gone."""
    monkeypatch.setattr(limits, "STATEMENT_SECONDS", 1)
    async with open_database(postgres_url, SystemClock()) as database:
        await _run(database, "CREATE TABLE notes (word TEXT)")

        with pytest.raises(DatabaseBusyError, match="statement timeout"):
            await _run(database, "INSERT INTO notes VALUES ('lost')", "SELECT pg_sleep(30)")
        async with database.reading() as tx:
            left = (await tx.connection.execute(text("SELECT count(*) FROM notes"))).scalar_one()

    assert left == 0


async def test_a_lock_that_nobody_gives_back_is_busy(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who waits is told; the one who holds it goes on."""
    monkeypatch.setattr(limits, "LOCK_SECONDS", 1)
    async with _two(postgres_url) as (one, other):
        await _run(one, "CREATE TABLE notes (word TEXT)")
        async with one.writing() as tx:
            await tx.connection.execute(text("LOCK TABLE notes"))
            with pytest.raises(DatabaseBusyError, match="lock timeout"):
                await _run(other, "INSERT INTO notes VALUES ('waits')")
            await tx.connection.execute(text("INSERT INTO notes VALUES ('goes on')"))
        async with other.reading() as tx:
            words = (await tx.connection.execute(text("SELECT word FROM notes"))).scalars().all()

    assert words == ["goes on"]


async def test_a_transaction_that_stands_still_loses_its_locks_and_its_writes(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a controller that is frozen: others go on, and it learns that it came too late."""
    monkeypatch.setattr(limits, "IDLE_SECONDS", 1)
    async with _two(postgres_url) as (frozen, other):
        await _run(frozen, "CREATE TABLE notes (word TEXT)")
        with pytest.raises(DatabaseBusyError):
            await _stand_still(frozen, _run(other, "INSERT INTO notes VALUES ('in between')"))
        async with other.reading() as tx:
            words = (await tx.connection.execute(text("SELECT word FROM notes"))).scalars().all()

    assert words == ["in between"]


async def test_a_server_that_became_read_only_is_left(postgres_url: str) -> None:
    """As after a failover: callers are told to come again, and a new connection can write."""
    name = make_url(postgres_url).database
    read_only = f'ALTER DATABASE "{name}" SET default_transaction_read_only'
    plain = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    await plain.execute(f"{read_only} = on")
    async with open_database(postgres_url, SystemClock()) as database:
        with pytest.raises(DatabaseBusyError, match="read-only"):
            await _run(database, "CREATE TABLE notes (word TEXT)")
        await plain.execute("SET default_transaction_read_only = off")
        await plain.execute(f"{read_only} = off")

        await _run(database, "CREATE TABLE notes (word TEXT)")
    await plain.close()


async def test_a_call_waits_for_a_connection_only_so_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More calls than connections are held back, not more connections opened."""
    monkeypatch.setattr(limits, "CONNECTIONS", 1)
    monkeypatch.setattr(limits, "CONNECTION_SECONDS", 0.2)
    async with open_database(postgres_url, SystemClock()) as database, database.reading():
        with pytest.raises(DatabaseBusyError):
            async with database.reading():
                pytest.fail("there was a second connection")


async def test_a_migration_may_last_longer_than_a_statement(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for another's migration waits until it is done."""
    monkeypatch.setattr(limits, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(limits, "LOCK_SECONDS", 1)
    async with _two(empty_postgres_url) as (one, other):
        begun = time.monotonic()
        async with one.writing() as tx:
            await tx.connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            waiting = asyncio.create_task(migrate(other))
            while time.monotonic() < begun + 1.5:
                await tx.connection.execute(text("SELECT pg_sleep(0.1)"))
            assert not waiting.done()
        await waiting
        async with other.reading() as tx:
            rows = await tx.connection.execute(text("SELECT version_num FROM alembic_version"))
            assert len(rows.all()) == 1


async def test_a_client_that_is_frozen_within_a_statement_loses_its_locks_as_well(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own limits do not run there; another controller ends it, and nobody else."""
    monkeypatch.setattr(stuck_transactions, "IDLE_SECONDS", 0.5)
    plain = postgres_url.replace("+asyncpg", "")
    names = {"server_settings": {"application_name": limits.APPLICATION, "statement_timeout": "0"}}
    async with _two(postgres_url) as (one, other):
        await _run(one, "CREATE TABLE notes (word TEXT)")
        frozen = await asyncpg.connect(plain, **names)
        stranger = await asyncpg.connect(plain)
        await stranger.execute("BEGIN; LOCK TABLE notes IN ACCESS SHARE MODE")
        await frozen.execute("BEGIN; LOCK TABLE notes IN SHARE MODE")
        pid = frozen.get_server_pid()
        copying = asyncio.create_task(frozen.copy_to_table("notes", source=_nothing()))
        waiting = asyncio.create_task(_run(other, "INSERT INTO notes VALUES ('in between')"))
        ended: dict[int, float] = {}
        async with asyncio.timeout(180):
            while not ended:
                ended = await stuck_transactions.terminate_stuck(one)
        await waiting
        alive = await stranger.fetchval("SELECT word FROM notes")
        await stranger.close()
        frozen.terminate()
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)

    assert list(ended) == [pid]
    assert alive == "in between"


async def _nothing() -> AsyncIterator[bytes]:
    """Yield the rows of a client that never comes to send one."""
    await asyncio.Event().wait()
    yield b""
