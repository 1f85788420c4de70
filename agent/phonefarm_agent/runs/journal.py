"""The agent's journal: what must survive kill -9, such as runs and unsent records.

SQLite in one thread. Writes that come together share one commit: while a commit is under way the
next ones gather.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from phonefarm_agent.runs.journal_schema import JournalContents, Statement, open_database, read_all

log = structlog.get_logger()

RETRY_SECONDS = 0.5
_MAX_BATCH = 2000
_IMPOSSIBLE_WRITES = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
)
"""The errors of sqlite3 for a write that no disk could store; the disk causes all others."""


class JournalFailedError(Exception):
    """A write failed; nothing of it is in the journal."""


@dataclass(frozen=True, kw_only=True)
class _Write:
    statements: tuple[Statement, ...]
    done: asyncio.Future[None] | None
    retried: bool


class Journal:
    """Writes to the journal in the order of the calls; made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread
        self._waiting: list[_Write] = []
        self._wake = asyncio.Event()
        self.failing = ""

    @property
    def depth(self) -> int:
        """Return how many writes wait for the disk."""
        return len(self._waiting)

    def write_later(self, *statements: Statement) -> None:
        """Write soon, without waiting for the disk.

        It is retried until the disk takes it; one that no disk could take is logged and dropped.
        """
        self._enqueue(_Write(statements=statements, done=None, retried=True))

    async def write(self, *statements: Statement) -> None:
        """Return once the writes are on the disk; retried until the disk takes them.

        JournalFailedError for writes that no disk could take: a fault in the agent.
        """
        done = _future()
        self._enqueue(_Write(statements=statements, done=done, retried=True))
        await done

    async def try_write(self, *statements: Statement) -> None:
        """Return once the writes are on the disk; raise JournalFailedError if it refuses them."""
        if self.failing:
            raise JournalFailedError(self.failing)
        done = _future()
        self._enqueue(_Write(statements=statements, done=done, retried=False))
        await done

    def _enqueue(self, write: _Write) -> None:
        self._waiting.append(write)
        self._wake.set()

    async def run(self) -> None:
        """Commit the waiting writes until cancelled; `open_journal` writes the rest."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._waiting[:_MAX_BATCH]
                del self._waiting[: len(batch)]
                # A cancelled writer must not leave a commit half watched.
                committing = asyncio.ensure_future(self._commit(batch))
                try:
                    await asyncio.shield(committing)
                except asyncio.CancelledError:
                    await committing
                    raise

    async def finish(self) -> None:
        """Try once more to write what still waits."""
        batch, self._waiting = self._waiting, []
        try:
            await self._in_thread(batch)
        except Exception as error:  # noqa: BLE001 - the last try: it is told, whatever it is
            log.warning("journal.failed", error=repr(error), writes=len(batch))
        for write in batch:
            _settle(write, None)

    async def _commit(self, batch: Sequence[_Write]) -> None:
        try:
            await self._in_thread(batch)
        except Exception as error:  # noqa: BLE001 - a writer that ends would leave all waiting
            if isinstance(error, sqlite3.Error) and not isinstance(error, _IMPOSSIBLE_WRITES):
                await self._requeue(batch, error)
            else:
                await self._write_one_by_one(batch, error)
            return
        if self.failing:
            self.failing = ""
            log.info("journal.recovered")
        for write in batch:
            _settle(write, None)

    async def _write_one_by_one(self, batch: Sequence[_Write], error: Exception) -> None:
        """Write a batch one by one, and refuse the write that can never succeed.

        That is a value SQLite has no form for, say a number beyond 64 bits.
        """
        if len(batch) > 1:
            for index, write in enumerate(batch):
                await self._commit([write])
                if self.failing:  # the disk's turn: the rest waits behind what was put back
                    first = 1 if write.retried else 0
                    self._waiting[first:first] = batch[index + 1 :]
                    return
            return
        log.error("journal.write_impossible", error=repr(error))
        for write in batch:
            _settle(write, JournalFailedError(f"the journal cannot be written: {error!r}"))

    async def _requeue(self, batch: Sequence[_Write], error: Exception) -> None:
        """Fail the writes of `try_write`; put the others back to the front, in their order."""
        if not self.failing:
            log.error("journal.failed", error=str(error), writes=len(batch))
        self.failing = f"journal: {error}"
        for write in batch:
            if not write.retried:
                _settle(write, JournalFailedError(self.failing))
        self._waiting[:0] = [write for write in batch if write.retried]
        await asyncio.sleep(RETRY_SECONDS)

    async def _in_thread(self, batch: Sequence[_Write]) -> None:
        statements = [statement for write in batch for statement in write.statements]
        if statements:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._transact, statements)

    def _transact(self, statements: Sequence[Statement]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                self._connection.execute(statement.sql, statement.values)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


@asynccontextmanager
async def open_journal(path: Path) -> AsyncIterator[tuple[Journal, JournalContents]]:
    """Yield the journal at *path* and its contents; sqlite3.Error when it cannot be opened.

    All that was noted is written before the block is left.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal") as thread:
        connection = await loop.run_in_executor(thread, open_database, path)
        try:
            kept = await loop.run_in_executor(thread, read_all, connection)
            journal = Journal(connection, thread)
            writer = asyncio.create_task(journal.run(), name="journal-writer")
            try:
                yield journal, kept
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                await journal.finish()
        finally:
            await loop.run_in_executor(thread, connection.close)


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _settle(write: _Write, error: JournalFailedError | None) -> None:
    if write.done is None or write.done.done():
        return
    if error is None:
        write.done.set_result(None)
    else:
        write.done.set_exception(error)
