"""Reads evidence: lists the files of a process's runs, and returns the bytes of a file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.alarms import Alarms
from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.evidence.availability import check_available
from phonefarm_controller.evidence.backends.backend import EvidenceBackend, NotKeptError, Reading
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.store import evidence, processes, runs
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.evidence import Evidence

MANIFEST: Final = "manifest"
MOST_LINES: Final = 10_000
"""The newest files that are listed; more would not fit into one message of 8 MiB."""


@dataclass(frozen=True, kw_only=True)
class EvidenceDetails:
    """A kept file, and whose it is."""

    evidence: Evidence
    item_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class RunEvidence:
    """An attempt and its files; `complete` if its manifest, which comes last, has arrived."""

    run_id: str
    item_id: str
    attempt: int
    complete: bool


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """One file, open."""

    details: EvidenceDetails
    reading: Reading

    async def chunk(self) -> bytes:
        """Return the next bytes, none at the end; FarmError `evidence_away`."""
        try:
            return await in_thread(self.reading.read)
        except OSError as error:
            raise _away(self.details.evidence, error) from error


class EvidenceReader:
    """Reads files of the evidence backend, and nothing else."""

    def __init__(self, *, database: Database, backend: EvidenceBackend, alarms: Alarms) -> None:
        self._database = database
        self._backend = backend
        self._alarms = alarms

    @uninterrupted
    async def of(self, process_id: str) -> tuple[list[EvidenceDetails], list[RunEvidence]]:
        """Return the newest MOST_LINES, oldest first, and the runs; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            if await processes.get(tx, process_id) is None:
                raise unknown_process(process_id)
            kept = await evidence.evidence_of(tx, process_id)
            whole_runs = {line.run_id for line in kept if line.kind == MANIFEST}
            begun = [
                RunEvidence(
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

        Of one that retention removed, FarmError `evidence_removed`; `evidence_away` when it cannot
        be read now.
        """
        details = await self._find(process_id, evidence_id)
        kept = details.evidence
        if kept.removed_at is not None:
            when = f"{kept.removed_at:%Y-%m-%d %H:%M} UTC"
            message = f"the file {kept.name} was removed on {when} ({kept.removed_why})"
            raise FarmError(Reason.EVIDENCE_REMOVED, message)
        check_available(self._alarms)
        reading = await self._open(kept)
        try:
            yield EvidenceFile(details=details, reading=reading)
        finally:
            await in_thread(reading.close)

    @uninterrupted
    async def _find(self, process_id: str, evidence_id: str) -> EvidenceDetails:
        async with self._database.reading() as tx:
            kept = await evidence.evidence_of(tx, process_id, evidence_id=evidence_id)
            if not kept:
                raise _unknown(f"the process {process_id} has no evidence {evidence_id}")
            (details,) = await _seen(tx, kept)
            return details

    async def _open(self, kept: Evidence) -> Reading:
        """Open the file; a caller that is cancelled meanwhile leaves none open."""
        opened: list[Reading] = []
        try:
            await in_thread(lambda: opened.append(self._backend.open(kept.path, kept.bytes)))
        except NotKeptError as error:
            raise _unknown(f"{kept.name} {error}") from error
        except OSError as error:
            raise _away(kept, error) from error
        except asyncio.CancelledError:
            for reading in opened:
                await in_thread(reading.close)
            raise
        return opened[0]


async def _seen(tx: Transaction, kept: list[Evidence]) -> list[EvidenceDetails]:
    known = await runs.get(tx, {evidence.run_id for evidence in kept})
    return [
        EvidenceDetails(
            evidence=evidence,
            item_id=known[evidence.run_id].item_id,
            attempt=known[evidence.run_id].attempt,
        )
        for evidence in kept
        if evidence.run_id in known
    ]


def _away(kept: Evidence, error: OSError) -> FarmError:
    return FarmError(
        Reason.EVIDENCE_AWAY, f"{kept.name} cannot be read now: {error.strerror}; try again"
    )


def _unknown(message: str) -> FarmError:
    problem = FieldProblem(field="evidence_id", message="this process has no evidence with this id")
    return FarmError(Reason.UNKNOWN_EVIDENCE, message, problems=(problem,))
