"""The schema that migrations make is the one in store/schema, on each engine."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from phonefarm_common.clock import SystemClock
from phonefarm_controller.store import migrations
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.migrate import HEAD, MOST_TRIES, migrate
from phonefarm_controller.store.schema import metadata
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from support.releases import KEPT


async def test_migrations_make_the_tables(empty_database_url: str) -> None:
    """Nothing is in one and not in the other: tables, columns, types, defaults, keys, indexes."""
    async with open_database(empty_database_url, SystemClock()) as database:
        await migrate(database)
        async with database.writer.begin() as connection:
            differences = await connection.run_sync(_differences)
            made = await connection.run_sync(_fine_print)
            await connection.run_sync(_drop_all)
            await connection.run_sync(metadata.create_all)
            meant = await connection.run_sync(_fine_print)

    assert differences == []
    assert made == meant


def test_the_newest_migration_is_the_one_a_start_asks_for() -> None:
    """A database that has it is left alone, so the number must be the last script's."""
    names = [path.name for path in Path(str(migrations.__path__[0]), "versions").glob("m*.py")]

    assert max(name[1:5] for name in names) == HEAD


async def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    """A start on a current database is no event; what stands in it stays."""
    async with open_database(empty_database_url, SystemClock()) as database:
        await migrate(database)
        async with database.writing() as tx:
            await tx.connection.execute(text("INSERT INTO groups VALUES ('phone', 'g', 'm')"))
        await migrate(database)
        async with database.reading() as tx:
            kept = (await tx.connection.execute(text("SELECT name FROM groups"))).scalars().all()

    assert kept == ["g"]


@pytest.mark.postgres
async def test_controllers_that_start_together_migrate_once(empty_postgres_url: str) -> None:
    """They wait for each other; all find a current schema."""
    async with (
        open_database(empty_postgres_url, SystemClock()) as one,
        open_database(empty_postgres_url, SystemClock()) as two,
        open_database(empty_postgres_url, SystemClock()) as three,
    ):
        await asyncio.gather(*(migrate(database) for database in (one, two, three)))

        async with one.reading() as tx:
            rows = await tx.connection.execute(text("SELECT version_num FROM alembic_version"))
            assert len(rows.all()) == 1


@asynccontextmanager
async def a_busy_table(url: str) -> AsyncIterator[tuple[Database, AsyncConnection]]:
    """Yield a database before migration 13, and who reads a table that this one changes."""
    async with open_database(url, SystemClock()) as one, open_database(url, SystemClock()) as other:
        await migrate(one, to="0012")
        async with other.writer.connect() as busy:
            await busy.execute(text("LOCK TABLE phones IN ACCESS SHARE MODE"))
            yield one, busy


@pytest.mark.postgres
async def test_work_that_is_in_the_way_is_waited_for(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller of the release before reads on: all is undone, and done when it lets go."""
    monkeypatch.setattr("phonefarm_controller.store.migrate.TABLE_SECONDS", 0.05)
    pauses: list[float] = []
    async with a_busy_table(empty_postgres_url) as (database, busy):

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            await busy.execute(text("SELECT count(*) FROM queue_items"))  # nothing is locked
            if len(pauses) == 2:
                await busy.rollback()

        await migrate(database, pause=pause)
        async with database.writer.begin() as connection:
            differences = await connection.run_sync(_differences)

    assert len(pauses) == 2
    assert differences == []


@pytest.mark.postgres
async def test_work_that_stays_in_the_way_ends_the_start(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database's own words, and the schema as it was."""
    monkeypatch.setattr("phonefarm_controller.store.migrate.TABLE_SECONDS", 0.02)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with a_busy_table(empty_postgres_url) as (database, busy):
        with pytest.raises(DBAPIError, match="lock timeout"):
            await migrate(database, pause=pause)
        version = await busy.execute(text("SELECT version_num FROM alembic_version"))

        assert version.scalars().all() == ["0012"]
    assert len(pauses) == MOST_TRIES - 1


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def _fine_print(connection: Connection) -> dict[str, Any]:
    """Return what autogenerate does not compare: CHECKs and the conditions of indexes."""
    looked = inspect(connection)
    found: dict[str, Any] = {}
    for table in metadata.tables:
        checks = looked.get_check_constraints(table)
        found[table] = sorted((str(check["name"]), check["sqltext"]) for check in checks)
        for index in looked.get_indexes(table):
            where = {key: str(value) for key, value in index["dialect_options"].items()}
            found[f"{table}.{index['name']}"] = (index["column_names"], index["unique"], where)
        for unique in looked.get_unique_constraints(table):
            found[f"{table}.{unique['name']}"] = unique["column_names"]
    return found


def _drop_all(connection: Connection) -> None:
    metadata.drop_all(connection)


def test_the_first_migration_is_the_released_one() -> None:
    """What 0.1.0 made of a database is what the next migration begins with."""
    (wheel,) = (KEPT / "0.1.0").glob("*.whl")
    name = "phonefarm_controller/store/migrations/versions/m0001_first.py"
    with zipfile.ZipFile(wheel) as packed:
        released = packed.read(name)
        others = [one for one in packed.namelist() if "/versions/m00" in one]

    assert others == [name]
    assert (
        Path(migrations.__file__).parent / "versions" / "m0001_first.py"
    ).read_bytes() == released
