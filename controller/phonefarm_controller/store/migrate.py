"""Brings the schema up to date with Alembic."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from phonefarm_common.clock import Clock
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from phonefarm_controller.store.database import Database, open_database, shown

log = structlog.get_logger()

HEAD: Final = "0021"
"""The newest migration. If the database has it, Alembic is not even loaded."""
TABLE_SECONDS = 5
"""A change of a table waits this long for its lock; all others wait behind it."""
MOST_TRIES: Final = 12
PAUSE_SECONDS: Final = 1.0
_IN_THE_WAY: Final = frozenset({"40P01", "55P03"})
"""deadlock_detected, lock_not_available: other controllers are working at the same time."""
_LOCK = 0x70_68_66_61_72_6D  # "phfarm": one migration at a time on PostgreSQL


class DatabaseUnusableError(Exception):
    """The database could not be opened or migrated; the text names it, and says why."""


@asynccontextmanager
async def open_migrated(url: str, clock: Clock) -> AsyncIterator[Database]:
    """Open the database, with its schema up to date, while the block runs.

    Raises DatabaseTakenError, or DatabaseUnusableError for any other reason.
    """
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(open_database(url, clock))
            await migrate(database)
        except (DBAPIError, OSError) as error:
            why = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseUnusableError(
                f"cannot use the database {shown(url)}: {str(why) or repr(error)}"
            ) from error
        yield database


async def migrate(
    database: Database,
    *,
    to: str = "head",
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Apply every migration up to *to*, all or none; several controllers may start at once.

    Where work is in the way, what was done is undone and done again after a *pause*; DBAPIError
    when it still is after MOST_TRIES.
    """
    if await _version(database) == HEAD:
        return
    for left in reversed(range(MOST_TRIES)):
        try:
            await _try(database, to)
        except DBAPIError as error:
            if not left or getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
                raise
            log.warning("migration.blocked", why=str(error.orig), tries_left=left)
            await pause(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        else:
            return


async def _version(database: Database) -> str | None:
    async with database.writer.connect() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
            return None
        row = await connection.execute(text("SELECT version_num FROM alembic_version"))
        version: str | None = row.scalar_one_or_none()
        return version


async def _try(database: Database, to: str) -> None:
    async with database.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            # The limits are for the work of every day: an index may take its time to be made.
            for limit in ("statement_timeout", "lock_timeout"):
                await connection.execute(text(f"SET LOCAL {limit} = 0"))
            await connection.execute(text("SET LOCAL application_name = 'phonefarm-migration'"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'"))
        await connection.run_sync(_upgrade, to)


def _upgrade(connection: Connection, to: str) -> None:
    from alembic import command  # noqa: PLC0415 - it and its scripts, for a new schema only
    from alembic.config import Config  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", "phonefarm_controller.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
