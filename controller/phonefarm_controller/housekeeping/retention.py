"""Retention: removes expired evidence and processes, a few rows in each transaction.

A line first says that its file is gone, and then the file goes: one that is read meanwhile is told
of as removed, and a crash in between leaves a line that names what the next round still removes.
A process goes when nothing of it is needed any more, from its edges to its heart.
"""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from phonefarm_common.ids import new_id

from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.model.retention import EvidenceClass, RetentionPolicy, class_of
from phonefarm_controller.store import audit, retention
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.retention import OldFile

log = structlog.get_logger()

PAGE: Final = 200
ROWS: Final = 100
"""One transaction changes at most this many rows."""
REST_SECONDS: Final = 0.02
"""The pause between two transactions; with SQLite, all others write during it."""
ACTOR: Final = "retention"


@dataclass
class RemovedTotals:
    """What retention has removed since this controller started."""

    files: Counter[EvidenceClass] = field(default_factory=Counter)
    bytes: Counter[EvidenceClass] = field(default_factory=Counter)
    processes: int = 0


class Retention:
    """Removes what *keep* does not keep any longer; several controllers may do this at once."""

    def __init__(
        self,
        *,
        database: Database,
        backend: EvidenceBackend,
        keep: RetentionPolicy,
        rest: float = REST_SECONDS,
    ) -> None:
        self._database = database
        self._backend = backend
        self._keep = keep
        self._rest = rest
        self.removed = RemovedTotals()

    async def files(self) -> None:
        """Remove the evidence that has had its time; OSError where the place refuses."""
        after = None
        before = Counter(self.removed.files), Counter(self.removed.bytes)
        try:
            while page := await self._old_files(after):
                after = page[-1].received_at, page[-1].evidence_id
                await asyncio.sleep(self._rest)
        finally:
            await self._note_files(*before)
        while await self._remove_leftovers():  # noqa: ASYNC110 - a rest between two batches
            await asyncio.sleep(self._rest)

    async def processes(self) -> None:
        """Remove the processes that have had their time and are not needed."""
        after, gone = None, 0
        while page := await self._old_processes(after):
            after = page[-1][0], page[-1][1]
            for _, process_id, may_go in page:
                if may_go and await self._remove_process(process_id):
                    gone += 1
            await asyncio.sleep(self._rest)
        if gone:
            self.removed.processes += gone
            log.info("retention.processes_removed", processes=gone)
            await self._note("remove processes", "old", f"{gone} by retention")

    @uninterrupted
    async def _old_files(self, after: tuple[datetime, str] | None) -> list[OldFile]:
        """Return a page of old files; mark those that have had their time as removed."""
        shortest = self._keep.shortest
        if shortest is None:
            return []
        async with self._database.reading() as tx:
            page = await retention.old_files(tx, before=tx.now - shortest, after=after, limit=PAGE)
            expired = self._expired(page, tx.now)
        for of, files in expired.items():
            for start in range(0, len(files), ROWS):
                await self._mark(of, files[start : start + ROWS])
        return page

    def _expired(self, page: list[OldFile], now: datetime) -> dict[EvidenceClass, list[OldFile]]:
        found = defaultdict(list)
        for file in page:
            of = class_of(kind=file.kind, verification=file.verification, outcome=file.outcome)
            since = max(file.received_at, file.ended_at)
            if self._keep.expired(of, since=since, now=now):
                found[of].append(file)
        return found

    async def _mark(self, of: EvidenceClass, files: list[OldFile]) -> None:
        ids, why = [file.evidence_id for file in files], self._keep.why(of)
        async with self._database.writing() as tx:
            # Another controller may have been first with some.
            sizes = await retention.mark_removed(tx, ids, why=why)
        self.removed.files[of] += len(sizes)
        self.removed.bytes[of] += sum(sizes)

    @uninterrupted
    async def _remove_leftovers(self) -> int:
        async with self._database.reading() as tx:
            left = await retention.leftovers(tx, limit=ROWS)
        if left:
            await in_thread(partial(self._backend.remove, [path for _, path in left]))
            async with self._database.writing() as tx:
                await retention.forget_paths(tx, [evidence_id for evidence_id, _ in left])
        return len(left)

    @uninterrupted
    async def _old_processes(
        self, after: tuple[datetime, str] | None
    ) -> list[tuple[datetime, str, bool]]:
        if self._keep.processes is None:
            return []
        async with self._database.reading() as tx:
            before = tx.now - self._keep.processes
            return await retention.old_processes(tx, before=before, after=after, limit=PAGE)

    async def _remove_process(self, process_id: str) -> bool:
        """Remove one process; false when it is needed after all."""
        while await self._thin(process_id):  # noqa: ASYNC110 - a rest between two batches
            await asyncio.sleep(self._rest)
        return await self._remove(process_id)

    @uninterrupted
    async def _thin(self, process_id: str) -> int:
        async with self._database.writing() as tx:
            if not await retention.is_removable(tx, process_id):
                return 0
            return await retention.remove_some_rows(tx, process_id, limit=ROWS)

    @uninterrupted
    async def _remove(self, process_id: str) -> bool:
        async with self._database.writing() as tx:
            if not await retention.is_removable(tx, process_id):
                return False
            await retention.remove(tx, process_id)
        # What no line names: a controller died between a file's last byte and its line. Behind the
        # commit no upload begins that it could take along.
        await in_thread(partial(self._backend.clear, process_id))
        return True

    async def _note_files(
        self, files: Counter[EvidenceClass], sizes: Counter[EvidenceClass]
    ) -> None:
        for of, count in (self.removed.files - files).items():
            size = self.removed.bytes[of] - sizes[of]
            log.info("retention.evidence_removed", of=str(of), files=count, bytes=size)
            await self._note("remove evidence", of, f"{count} files, {size} bytes by retention")

    @uninterrupted
    async def _note(self, verb: str, subject: str, reason: str) -> None:
        async with self._database.writing() as tx:
            await audit.note(
                tx, audit_id=new_id(), actor=ACTOR, verb=verb, subject=subject, reason=reason
            )


PERIOD_SECONDS: Final = 600.0


async def sweep_partial_files(backend: EvidenceBackend) -> None:
    """Remove the parts of files that no upload will finish."""
    if parts := await in_thread(backend.sweep):
        log.info("evidence.partial_files_removed", parts=parts)
