"""Back up the controller's SQLite database, consistently, while it works."""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from phonefarm_common.disk_space import MIB, disk_figures
from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import check_reason
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.times import moment_text
from phonefarm_controller.store import audit
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.sqlite_backup import copy_paused

log = structlog.get_logger()

CHUNK_BYTES: Final = 256 * 1024
SPARE_BYTES: Final = 64 * MIB
"""After the copy, this much of the disk must remain free for the controller."""
NAME: Final = "backup.part"


@dataclass(frozen=True, kw_only=True)
class BackupCopy:
    """An open copy; it is removed when its block ends."""

    taken_at: datetime
    size: int
    sha256: str
    descriptor: int

    # Whole, or a cancelled caller would close the file under the thread that reads it.
    @uninterrupted
    async def chunk(self) -> bytes:
        """Return the next bytes, none at the end."""
        return await asyncio.to_thread(os.read, self.descriptor, CHUNK_BYTES)


class Backup:
    """Makes copies, one at a time, in the controller's data folder."""

    def __init__(self, *, database: Database, data: Path) -> None:
        self._database = database
        self._place = data / NAME
        self._busy = False

    @asynccontextmanager
    async def taken(self, *, actor: str, reason: str) -> AsyncIterator[BackupCopy]:
        """Yield a copy of the database as of now, in which everything is paused.

        The event loop goes on meanwhile. FarmError `state_conflict:` postgresql or backup_running,
        `storage_full`.
        """
        check_reason(reason)
        source = self._database.file
        if source is None:
            message = "the database is PostgreSQL: back it up with pg_dump (docs/operating.md)"
            raise FarmError(Reason.STATE_CONFLICT, message, detail="postgresql")
        if self._busy:
            message = "another backup is running: wait until it has finished"
            raise FarmError(Reason.STATE_CONFLICT, message, detail="backup_running")
        self._busy = True
        try:
            taken_at = await self._note(actor, reason)
            size, digest = await self._write(source, taken_at)
            descriptor = os.open(self._place, os.O_RDONLY)
            try:
                yield BackupCopy(taken_at=taken_at, size=size, sha256=digest, descriptor=descriptor)
            finally:
                os.close(descriptor)
        finally:
            self._place.unlink(missing_ok=True)
            self._busy = False

    @uninterrupted
    async def _note(self, actor: str, reason: str) -> datetime:
        async with self._database.writing() as tx:
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="backup",
                subject="database",
                reason=reason,
            )
            return tx.now

    @uninterrupted
    async def _write(self, source: Path, taken_at: datetime) -> tuple[int, str]:
        when = moment_text(taken_at)
        pause = Pause(
            scope=PauseScope.ALL,
            name="",
            since=taken_at,
            by="backup",
            reason=(
                f"restored from the backup of {when}: check what was done since then, then resume"
            ),
        )
        try:
            return await asyncio.to_thread(self._write_here, source, pause)
        except (sqlite3.Error, OSError) as error:
            log.warning("backup.failed", error=str(error))
            message = f"the copy could not be written to {self._place}: {error}"
            raise FarmError(Reason.STORAGE_FULL, message) from error

    def _write_here(self, source: Path, pause: Pause) -> tuple[int, str]:
        wal = source.with_name(f"{source.name}-wal")
        needed = source.stat().st_size + (wal.stat().st_size if wal.exists() else 0) + SPARE_BYTES
        free = disk_figures(self._place.parent).free
        if free < needed:
            message = (
                f"a copy of the database needs {needed // MIB} MiB in {self._place.parent}, but "
                f"only {free // MIB} MiB are free: free some space, or use a larger disk"
            )
            raise FarmError(Reason.STORAGE_FULL, message)
        self._place.unlink(missing_ok=True)  # a killed controller may have left one
        self._place.touch(mode=0o600)
        copy_paused(source, self._place, pause)
        with self._place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._place.stat().st_size, digest
