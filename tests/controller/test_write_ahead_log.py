"""SQLite's write-ahead log is small again after a long read."""

from pathlib import Path

import pytest
from phonefarm_common.clock import SystemClock
from phonefarm_controller.store import database as store
from phonefarm_controller.store.database import Database, open_database
from sqlalchemy import text

LIMIT = 64 * 1024


async def _write(database: Database, count: int) -> None:
    for _ in range(count):
        async with database.writing() as tx:
            await tx.connection.execute(text("INSERT INTO notes VALUES (randomblob(1000000))"))


async def test_the_log_is_cut_when_the_read_that_let_it_grow_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart: a backup or a forgotten shell costs disk only while it lasts."""
    monkeypatch.setattr(store, "WAL_BYTES", LIMIT)
    log = tmp_path / "farm.db-wal"
    async with open_database(f"sqlite:///{tmp_path / 'farm.db'}", SystemClock()) as database:
        async with database.writing() as tx:
            await tx.connection.execute(text("CREATE TABLE notes (word BLOB)"))
        async with database.reading() as reader:
            await reader.connection.execute(text("SELECT count(*) FROM notes"))
            await _write(database, 6)
            grown = log.stat().st_size
        async with database.writing() as tx:  # checkpoints what the reader held
            await tx.connection.execute(text("INSERT INTO notes VALUES ('one')"))
        async with database.writing() as tx:  # begins the log again
            await tx.connection.execute(text("INSERT INTO notes VALUES ('two')"))
        left = log.stat().st_size

    assert grown > 6_000_000
    assert left <= LIMIT
