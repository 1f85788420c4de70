"""Bringing the schema up to date with Alembic."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from phonefarm_controller.store.database import Database

TABLE_SECONDS = 5
"""So long a change of a table waits for it; everybody else waits behind."""
_LOCK = 0x70_68_66_61_72_6D  # "phfarm": one migration at a time on PostgreSQL


async def migrate(database: Database, *, to: str = "head") -> None:
    """Apply every migration up to *to*; several controllers may start at once."""
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
    config = Config()
    config.set_main_option("script_location", "phonefarm_controller.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
