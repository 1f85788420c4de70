"""What a database is asked, as its driver gets it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from phonefarm_controller.store.database import Database, Transaction
from sqlalchemy import event

Asked = dict[str, Any]
"""The last parameters of each SELECT, by its text."""


@contextmanager
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Collect every SELECT while the block runs, also those that go to the driver itself."""
    asked: Asked = {}

    def note(_: Any, __: Any, sql: str, parameters: Any, *___: Any) -> None:
        if sql.startswith("SELECT"):
            asked[sql] = parameters

    rows = Transaction.rows

    async def noted(tx: Transaction, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
        note(None, None, sql, parameters)
        return await rows(tx, sql, parameters)

    engines = {database.writer.sync_engine, database._reader.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Transaction, "rows", noted)
            yield asked
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
