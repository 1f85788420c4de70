"""Stores the evidence of runs, one file at a time, after checking its size and hash."""

import asyncio
import errno
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from phonefarm_common.evidence_kinds import KINDS
from phonefarm_common.ids import is_uuid, new_id
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.alarms import Alarms
from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.evidence.availability import check_available
from phonefarm_controller.evidence.backends.backend import (
    EvidenceBackend,
    PartialFile,
    PartialFileGoneError,
)
from phonefarm_controller.model.errors import invalid_field, unknown_process
from phonefarm_controller.model.run_reports import RunRef
from phonefarm_controller.store import evidence, items, runs
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.evidence import Evidence

log = structlog.get_logger()

MOST_BYTES: Final = 64 * 1024 * 1024
MOST_CHUNK: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, kw_only=True)
class EvidenceHead:
    """The description of a file to upload; the upload continues at `offset`."""

    run: RunRef
    name: str
    kind: str
    bytes: int
    sha256: str
    truncated: bool
    action_index: int
    offset: int = 0

    @property
    def key(self) -> str:
        """Return what its parts are called: no other content has the same."""
        text = f"{self.run.run_id}/{self.name}/{self.bytes}/{self.sha256}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of a file has arrived; it has an `evidence_id` when it is complete."""

    evidence_id: str
    received: int


class EvidenceUpload:
    """Stores files in the evidence backend."""

    def __init__(self, *, database: Database, backend: EvidenceBackend, alarms: Alarms) -> None:
        self._database = database
        self._backend = backend
        self._alarms = alarms

    async def ask(self, head: EvidenceHead) -> Progress:
        """Return what is here of the file; FarmError when it could not be kept."""
        _check(head)
        check_available(self._alarms)
        await self._process_of(head)
        present = await self._present(head)
        if present is not None:
            return Progress(evidence_id=present.evidence_id, received=head.bytes)
        try:
            received = await in_thread(partial(self._backend.received, head.key))
        except OSError as error:
            raise self._unwritable(error) from error
        return Progress(evidence_id="", received=min(received, head.bytes))

    async def __call__(self, head: EvidenceHead, chunks: AsyncIterator[bytes]) -> str:
        """Return the evidence's id once it is kept; FarmError when it is not what its head says.

        The same file again is the same evidence; another one under its name is refused. Of an
        upload that is cut what came stays for the next one.
        """
        _check(head)
        check_available(self._alarms)
        process_id = await self._process_of(head)
        try:
            part = await self._begin(head)
        except PartialFileGoneError as error:
            raise invalid_field("head.offset", f"must be 0: {error}") from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            await _fill(part, head, chunks)
            return await self._keep(process_id, head, part)
        except FarmError:
            await in_thread(part.remove)
            raise
        except PartialFileGoneError as error:
            message = "another upload of this file has taken over"
            raise FarmError(Reason.STATE_CONFLICT, message, detail="uploading") from error
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            await in_thread(part.leave)

    async def _begin(self, head: EvidenceHead) -> PartialFile:
        """Open a part; a caller that is cancelled meanwhile leaves none open."""
        begun: list[PartialFile] = []
        try:
            await in_thread(lambda: begun.append(self._backend.begin(head.key, head.offset)))
        except asyncio.CancelledError:
            for part in begun:
                await in_thread(part.leave)
            raise
        return begun[0]

    @uninterrupted
    async def _process_of(self, head: EvidenceHead) -> str:
        async with self._database.reading() as tx:
            run = (await runs.get(tx, {head.run.run_id})).get(head.run.run_id)
            if run is None or (run.lease_id, run.epoch) != (head.run.lease_id, head.run.epoch):
                raise invalid_field("head.run", "does not identify a run with this lease and epoch")
            owner = await items.processes_of(tx, {run.item_id})
        process_id = owner.get(run.item_id)
        if process_id is None:
            raise unknown_process(head.run.item_id)
        return process_id

    @uninterrupted
    async def _present(self, head: EvidenceHead) -> Evidence | None:
        async with self._database.reading() as tx:
            present = await evidence.evidence_named(tx, head.run.run_id, head.name)
        return None if present is None else _same(present, head)

    @uninterrupted
    async def _keep(self, process_id: str, head: EvidenceHead, part: PartialFile) -> str:
        present = await self._present(head)
        if present is not None:
            await in_thread(part.remove)
            return present.evidence_id
        path = self._backend.path_of(
            process_id=process_id, run_id=head.run.run_id, name=head.name, sha256=head.sha256
        )
        # The place may take seconds; whoever writes would wait in a transaction of ours.
        await in_thread(partial(part.settle, path))
        async with self._database.writing() as tx:
            present = await evidence.evidence_named(tx, head.run.run_id, head.name)
            if present is None:
                kept = Evidence(
                    evidence_id=new_id(),
                    run_id=head.run.run_id,
                    process_id=process_id,
                    name=head.name,
                    kind=head.kind,
                    path=path,
                    bytes=head.bytes,
                    sha256=head.sha256,
                    truncated=head.truncated,
                    action_index=head.action_index,
                    received_at=tx.now,
                )
                await evidence.keep_evidence(tx, kept)
                # Before the commit: a line never names a file that is not there.
                part.become(path)
                return kept.evidence_id
        await in_thread(part.remove)
        if present.path != path:  # What this part has settled is nobody's.
            await in_thread(partial(self._backend.remove, [path]))
        return _same(present, head).evidence_id

    def _unwritable(self, error: OSError) -> FarmError:
        """Return the error for the agent, which keeps the file and tries again."""
        log.warning("evidence.upload_failed", backend=str(self._backend), why=error.strerror)
        if error.errno in _FULL:
            return FarmError(Reason.STORAGE_FULL, f"{self._backend} is full: {error.strerror}")
        message = f"{self._backend} cannot store evidence now: {error.strerror}"
        return FarmError(Reason.EVIDENCE_AWAY, message)


async def _fill(part: PartialFile, head: EvidenceHead, chunks: AsyncIterator[bytes]) -> None:
    """Write what comes, to the disk; FarmError when the whole is not what was told."""
    async for chunk in chunks:
        if len(chunk) > MOST_CHUNK:
            raise invalid_field("data", f"must have at most {MOST_CHUNK} bytes")
        if part.size + len(chunk) > head.bytes:
            raise invalid_field("head.bytes", "is smaller than the number of bytes that were sent")
        await in_thread(partial(part.add, chunk))
    if part.size != head.bytes or part.sha256 != head.sha256:
        raise invalid_field("head.sha256", "does not match the bytes that were sent")


def _same(present: Evidence, head: EvidenceHead) -> Evidence:
    if present.sha256 != head.sha256:
        raise invalid_field("head.name", "is already the name of another file of this run")
    return present


def _check(head: EvidenceHead) -> None:
    if not _NAME.fullmatch(head.name):
        raise invalid_field("head.name", "must be a plain file name")
    if not is_uuid(head.run.run_id):
        raise invalid_field("head.run.run_id", "must be a UUID")
    if head.kind not in KINDS:
        raise invalid_field("head.kind", f"must be one of {', '.join(sorted(KINDS))}")
    if not 0 <= head.bytes <= MOST_BYTES:
        raise invalid_field("head.bytes", f"must be at most {MOST_BYTES}")
    if not 0 <= head.offset <= head.bytes:
        raise invalid_field("head.offset", "must be an offset within the file")
