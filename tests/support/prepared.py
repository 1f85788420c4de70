"""Databases as migrations leave them: made once, then copied, because most tests begin with one.

That migrations make the same tables from nothing is what tests/controller/test_store_migrations.py
is for; it uses neither.
"""

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from phonefarm_common.clock import SystemClock
from phonefarm_controller.store.database import open_database
from phonefarm_controller.store.migrate import migrate
from sqlalchemy import make_url
from support.compiled import compile_once
from support.postgres_server import PostgresServer

TEMPLATE: Final = "migrated"
compile_once()
_file: list[bytes] = []


def prepare_sqlite(url: str) -> None:
    """Put a migrated database where *url* names an SQLite file that is not there yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    path = Path(parsed.database)
    if path.exists():
        return
    if not _file:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "farm.db"
            _migrate(f"sqlite:///{made}")
            _file.append(made.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_file[0])


def prepare_postgres(server: PostgresServer) -> None:
    """Make the database TEMPLATE of the server, from which others are copied."""
    server.sql(f'CREATE DATABASE "{TEMPLATE}"')
    _migrate(server.url(TEMPLATE))


def _migrate(url: str) -> None:
    """Migrate in a loop of its own, in a thread, because the caller's loop may be running."""

    async def work() -> None:
        async with open_database(url, SystemClock()) as database:
            await migrate(database)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work()).result()
