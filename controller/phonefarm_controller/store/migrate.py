"""Bringing the schema up to date with Alembic."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from phonefarm_controller.store.database import Database

_LOCK = 0x70_68_66_61_72_6D  # "phfarm": one migration at a time on PostgreSQL


async def migrate(database: Database, *, to: str = "head") -> None:
    """Apply every migration up to *to*; several controllers may start at once."""
    async with database.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        await connection.run_sync(_upgrade, to)


def _upgrade(connection: Connection, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", "phonefarm_controller.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
