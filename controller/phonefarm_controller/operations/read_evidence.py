"""Read evidence: what runs left behind, by process, and the bytes of one file."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.operations.cancel import unknown_process
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.store import processes, profiles, runs
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.profiles import Evidence

MANIFEST: Final = "manifest"
CHUNK_BYTES: Final = 64 * 1024
MOST_LINES: Final = 10_000
"""Lines of evidence that are listed, the newest: they travel in one message of 8 MiB."""


@dataclass(frozen=True, kw_only=True)
class EvidenceSight:
    """A kept file, and whose it is."""

    evidence: Evidence
    item_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class RunSight:
    """An attempt that was begun; `complete` once its manifest is kept, which comes last."""

    run_id: str
    item_id: str
    attempt: int
    complete: bool


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """One file, open."""

    sight: EvidenceSight
    descriptor: int

    # Whole, or a cancelled caller would close the file under the thread that reads it.
    @whole
    async def chunk(self) -> bytes:
        """Return the next bytes, none at the end."""
        return await asyncio.to_thread(os.read, self.descriptor, CHUNK_BYTES)


class ReadEvidence:
    """Reads what is kept under the evidence directory, and nothing else."""

    def __init__(self, *, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    @whole
    async def of(self, process_id: str) -> tuple[list[EvidenceSight], list[RunSight]]:
        """Return the newest MOST_LINES, oldest first, and the runs; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            if await processes.get(tx, process_id) is None:
                raise unknown_process(process_id)
            kept = await profiles.evidence_of(tx, process_id)
            whole_runs = {line.run_id for line in kept if line.kind == MANIFEST}
            begun = [
                RunSight(
                    run_id=run.run_id,
                    item_id=run.item_id,
                    attempt=run.attempt,
                    complete=run.run_id in whole_runs,
                )
                for run in await runs.begun_of(tx, process_id)
            ]
            return await _seen(tx, kept[-MOST_LINES:]), begun[-MOST_LINES:]

    @asynccontextmanager
    async def opened(self, process_id: str, evidence_id: str) -> AsyncIterator[EvidenceFile]:
        """Yield the file; FarmError `unknown_evidence`, also when it is not as it was kept.

        Of one that retention removed, FarmError `evidence_removed`.
        """
        sight = await self._find(process_id, evidence_id)
        kept = sight.evidence
        if kept.removed_at is not None:
            when = f"{kept.removed_at:%Y-%m-%d %H:%M} UTC"
            message = f"{kept.name} was removed on {when} ({kept.removed_why})"
            raise FarmError(Reason.EVIDENCE_REMOVED, message)
        descriptor = await self._open(sight.evidence)
        try:
            yield EvidenceFile(sight=sight, descriptor=descriptor)
        finally:
            os.close(descriptor)

    @whole
    async def _find(self, process_id: str, evidence_id: str) -> EvidenceSight:
        async with self._database.reading() as tx:
            kept = await profiles.evidence_of(tx, process_id, evidence_id=evidence_id)
            if not kept:
                raise _unknown(f"the process {process_id} has no evidence {evidence_id}")
            (sight,) = await _seen(tx, kept)
            return sight

    @whole
    async def _open(self, evidence: Evidence) -> int:
        return await asyncio.to_thread(_opened, self._directory.resolve(), evidence)


def _opened(directory: Path, evidence: Evidence) -> int:
    """Return the open file's descriptor; it is below *directory*, by no link, and whole."""
    path = directory / evidence.path
    try:
        if path.resolve() != path or not path.is_relative_to(directory):
            raise _unknown(f"{evidence.name} is not below the evidence directory")
        # Never waits for the other end of what is no file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        message = f"{evidence.name} is no longer on the controller's disk ({error.strerror})"
        raise _unknown(message) from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size != evidence.bytes:
        os.close(descriptor)
        raise _unknown(f"{evidence.name} on the controller's disk is not what was kept")
    return descriptor


async def _seen(tx: Transaction, kept: list[Evidence]) -> list[EvidenceSight]:
    known = await runs.get(tx, {evidence.run_id for evidence in kept})
    return [
        EvidenceSight(
            evidence=evidence,
            item_id=known[evidence.run_id].item_id,
            attempt=known[evidence.run_id].attempt,
        )
        for evidence in kept
        if evidence.run_id in known
    ]


def _unknown(message: str) -> FarmError:
    problem = FieldProblem(field="evidence_id", message="names no evidence of the process")
    return FarmError(Reason.UNKNOWN_EVIDENCE, message, problems=(problem,))
