"""The schema that migrations make is the one in store/tables.py, on each engine."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from phonefarm_common.clock import SystemClock
from phonefarm_controller.store.database import open_database
from phonefarm_controller.store.migrate import migrate
from phonefarm_controller.store.tables import metadata
from sqlalchemy import Connection, inspect, text


async def test_migrations_make_the_tables(database_url: str) -> None:
    """Nothing is in one and not in the other: tables, columns, types, defaults, keys, indexes."""
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)
        async with database.writer.begin() as connection:
            differences = await connection.run_sync(_differences)
            made = await connection.run_sync(_fine_print)
            await connection.run_sync(_drop_all)
            await connection.run_sync(metadata.create_all)
            meant = await connection.run_sync(_fine_print)

    assert differences == []
    assert made == meant


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    """A start on a current database is no event; what stands in it stays."""
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)
        async with database.writing() as tx:
            await tx.connection.execute(text("INSERT INTO groups VALUES ('phone', 'g', 'm')"))
        await migrate(database)
        async with database.reading() as tx:
            kept = (await tx.connection.execute(text("SELECT name FROM groups"))).scalars().all()

    assert kept == ["g"]


@pytest.mark.postgres
async def test_controllers_that_start_together_migrate_once(postgres_url: str) -> None:
    """They wait for each other; all find a current schema."""
    async with (
        open_database(postgres_url, SystemClock()) as one,
        open_database(postgres_url, SystemClock()) as two,
        open_database(postgres_url, SystemClock()) as three,
    ):
        await asyncio.gather(*(migrate(database) for database in (one, two, three)))

        async with one.reading() as tx:
            rows = await tx.connection.execute(text("SELECT version_num FROM alembic_version"))
            assert len(rows.all()) == 1


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
