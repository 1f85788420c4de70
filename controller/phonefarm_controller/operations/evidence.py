"""Keep evidence: one file of a run, checked by size and hash, under the evidence directory."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from phonefarm_common.identity import is_uuid, new_id

from phonefarm_controller.domain.inputs import invalid_field
from phonefarm_controller.domain.reports import RunRef
from phonefarm_controller.operations.cancel import unknown_process
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.store import items, profiles, runs
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.profiles import Evidence

MOST_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KINDS = frozenset({"screenshot", "ui_dump", "logcat", "log", "manifest"})


@dataclass(frozen=True, kw_only=True)
class EvidenceHead:
    """What a file claims to be."""

    run: RunRef
    name: str
    kind: str
    bytes: int
    sha256: str
    truncated: bool
    action_index: int


class KeepEvidence:
    """Keeps files under DIRECTORY/<process>/<run>/<name>."""

    def __init__(self, *, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    async def __call__(self, head: EvidenceHead, chunks: AsyncIterator[bytes]) -> str:
        """Return the evidence's id once it is kept; FarmError when it is not what its head says.

        The same file again is the same evidence; another one under its name is refused.
        """
        _check(head)
        process_id = await self._process_of(head)
        relative = Path(process_id) / head.run.run_id / head.name
        target = self._directory / relative
        scratch = target.with_name(f".{target.name}.{new_id()}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            await _write(scratch, head, chunks)
            return await self._keep(process_id, relative, head, scratch)
        finally:
            scratch.unlink(missing_ok=True)

    @whole
    async def _process_of(self, head: EvidenceHead) -> str:
        async with self._database.reading() as tx:
            run = (await runs.get(tx, {head.run.run_id})).get(head.run.run_id)
            if run is None or (run.lease_id, run.epoch) != (head.run.lease_id, head.run.epoch):
                raise invalid_field("head.run", "names no run with this lease and epoch")
            owner = await items.processes_of(tx, {run.item_id})
        process_id = owner.get(run.item_id)
        if process_id is None:
            raise unknown_process(head.run.item_id)
        return process_id

    @whole
    async def _keep(
        self, process_id: str, relative: Path, head: EvidenceHead, scratch: Path
    ) -> str:
        async with self._database.writing() as tx:
            present = await profiles.evidence_named(tx, head.run.run_id, head.name)
            if present is not None:
                if present.sha256 != head.sha256:
                    raise invalid_field("head.name", "is that of another file of this run")
                return present.evidence_id
            kept = Evidence(
                evidence_id=new_id(),
                run_id=head.run.run_id,
                process_id=process_id,
                name=head.name,
                kind=head.kind,
                path=str(relative),
                bytes=head.bytes,
                sha256=head.sha256,
                truncated=head.truncated,
                action_index=head.action_index,
                received_at=tx.now,
            )
            await profiles.keep_evidence(tx, kept)
            # Before the commit: a line never names a file that is not there.
            scratch.replace(self._directory / relative)  # noqa: ASYNC240 - one quick system call
            return kept.evidence_id


async def _write(scratch: Path, head: EvidenceHead, chunks: AsyncIterator[bytes]) -> None:
    """Write what comes to *scratch*, and to the disk; FarmError when it is not what was told."""
    seen, size = hashlib.sha256(), 0
    with scratch.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > head.bytes:
                break
            seen.update(chunk)
            file.write(chunk)
        file.flush()
        # The disk may take seconds; every agent's heartbeat would wait with this file.
        await asyncio.to_thread(os.fsync, file.fileno())
    if size != head.bytes or seen.hexdigest() != head.sha256:
        raise invalid_field("head.sha256", "is not that of the bytes sent")


def _check(head: EvidenceHead) -> None:
    if not _NAME.fullmatch(head.name):
        raise invalid_field("head.name", "must be a plain file name")
    if not is_uuid(head.run.run_id):
        raise invalid_field("head.run.run_id", "must be a UUID")
    if head.kind not in KINDS:
        raise invalid_field("head.kind", f"must be one of {', '.join(sorted(KINDS))}")
    if not 0 <= head.bytes <= MOST_BYTES:
        raise invalid_field("head.bytes", f"must be at most {MOST_BYTES}")
