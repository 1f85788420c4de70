"""Keeps evidence on this host's disk until the controller has it, within limits."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from phonefarm_agent.model.evidence import EvidenceFile, Manifest, ManifestEntry
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.runs.control_socket import EvidenceFrame
from phonefarm_agent.runs.journal import Journal
from phonefarm_agent.runs.journal_schema import (
    Statement,
    drop_evidence,
    put_evidence,
    put_manifest,
    trim_manifests,
)

log = structlog.get_logger()

RUN_BYTES = 20 * 1024 * 1024
RUN_FILES = 100
ALL_BYTES = 1024 * 1024 * 1024
MANIFEST = "manifest.json"


class EvidenceSpool:
    """The evidence of all runs, in one folder for each run; the journal lists what waits.

    The manifest of a run is made when the run is over and nothing else of it waits, so whoever has
    it has everything, or reads in it what is missing and why.
    """

    def __init__(
        self,
        *,
        folder: Path,
        journal: Journal,
        changed: asyncio.Event,
        kept: tuple[EvidenceFile, ...] = (),
        manifests: tuple[Manifest, ...] = (),
        most: int = ALL_BYTES,
    ) -> None:
        """Start with the files *kept* in the journal; all files together have *most* bytes."""
        self._folder = folder
        self._journal = journal
        self._changed = changed
        self._most = most
        self._waiting = {(file.ref.run_id, file.name): file for file in kept}
        self._bytes = sum(file.size for file in kept)
        self._manifests = {m.ref.run_id: m for m in manifests if not m.delivered}
        self._delivered = {m.ref.run_id for m in manifests if m.delivered}
        self._sent: dict[str, dict[str, int]] = {}

    def waiting(self) -> tuple[EvidenceFile, ...]:
        """Return the files that wait for upload, oldest first."""
        return tuple(self._waiting.values())

    def sweep(self) -> None:
        """Remove the files that the journal does not know.

        To be called before anything is put. Blocking; what cannot be removed is logged.
        """
        known = {file.path for file in self._waiting.values()}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            try:
                for path in folder.iterdir():
                    if path not in known:
                        path.unlink()
                        log.info("evidence.leftover_removed", run_id=folder.name, name=path.name)
                if not any(folder.iterdir()):
                    folder.rmdir()
            except OSError as error:
                log.warning("evidence.leftover_not_removed", run_id=folder.name, error=str(error))
        for run_id in tuple(self._manifests):
            self._issue_if_due(run_id)

    def expect(self, ref: RunRef, names: tuple[str, ...], action: int) -> None:
        """Record the files that the executor says it has sent."""
        self._sent.setdefault(ref.run_id, {}).update(dict.fromkeys(names[:RUN_FILES], action))

    async def put(self, ref: RunRef, frame: EvidenceFrame, *, truncated: bool = False) -> None:
        """Store a file of a run; above a limit, only name it in the manifest."""
        entry = ManifestEntry(name=frame.name, kind=frame.kind, action=frame.action)
        refusal = self._refusal(ref, frame)
        if refusal:
            log.warning("evidence.refused", name=frame.name, reason=refusal)
            await self._note(ref, replace(entry, missing=refusal))
            return
        self._make_room(len(frame.data))
        try:
            file = await asyncio.to_thread(self._store, ref, frame, truncated=truncated)
        except OSError as error:
            log.warning("evidence.lost", name=frame.name, error=str(error))
            await self._note(
                ref,
                replace(entry, missing=f"the agent could not store the file: {error.strerror}"),
            )
            return
        entry = replace(entry, size=file.size, sha256=file.sha256, truncated=truncated)
        older = self._waiting.pop((ref.run_id, file.name), None)
        self._bytes += file.size - (older.size if older else 0)
        await self._note(ref, entry, put_evidence(file))
        self._waiting[ref.run_id, file.name] = file
        self._changed.set()

    async def miss(self, ref: RunRef, *, name: str, kind: str, why: str) -> None:
        """Record in the manifest why a run has no such file, unless it has one."""
        if name not in self._manifest(ref).entries:
            await self._note(ref, ManifestEntry(name=name, kind=kind, action=-1, missing=why))

    async def close(self, ref: RunRef, ending: Mapping[str, object]) -> None:
        """Record how the run ended; its manifest follows after its last file.

        Closing again what the previous process has closed changes nothing.
        """
        if ref.run_id in self._delivered or self._manifest(ref).closed:
            return
        for name, action in self._sent.pop(ref.run_id, {}).items():
            if name not in self._manifest(ref).entries:
                kind = "ui_dump" if name.endswith(".xml") else "screenshot"
                lost = "the executor sent the file, but the agent did not receive it"
                await self._note(
                    ref, ManifestEntry(name=name, kind=kind, action=action, missing=lost)
                )
        manifest = replace(self._manifest(ref), closed=True, ending=dict(ending))
        self._manifests[ref.run_id] = manifest
        await self._journal.write(put_manifest(manifest))
        self._issue_if_due(ref.run_id)

    def remove(self, file: EvidenceFile, *, missing: str = "") -> None:
        """Remove a file that the controller has, or, as *missing* says, never will have."""
        run_id = file.ref.run_id
        if self._waiting.get((run_id, file.name)) != file:
            return  # A newer one of that name waits.
        del self._waiting[run_id, file.name]
        self._bytes -= file.size
        self._journal.write_later(drop_evidence(file), *self._told(file, missing))
        file.path.unlink(missing_ok=True)
        if not any(other == run_id for other, _ in self._waiting):
            try:
                file.path.parent.rmdir()
            except OSError:
                return  # A run that goes on is about to put more there.
            finally:
                self._issue_if_due(run_id)

    def _told(self, file: EvidenceFile, missing: str) -> list[Statement]:
        """Return the journal's writes for the manifest of a removed file."""
        manifest = self._manifests.get(file.ref.run_id)
        if manifest is None:
            return []
        if file.name == MANIFEST:
            del self._manifests[file.ref.run_id]
            self._delivered.add(file.ref.run_id)
            return [put_manifest(replace(manifest, delivered=True)), trim_manifests()]
        if not missing:
            return []
        entry = ManifestEntry(
            name=file.name, kind=file.kind, action=file.action_index, missing=missing
        )
        manifest = replace(manifest, entries={**manifest.entries, file.name: entry})
        self._manifests[file.ref.run_id] = manifest
        return [put_manifest(manifest)]

    def _manifest(self, ref: RunRef) -> Manifest:
        return self._manifests.get(ref.run_id) or Manifest(ref=ref)

    async def _note(self, ref: RunRef, entry: ManifestEntry, *more: Statement) -> None:
        manifest = self._manifest(ref)
        manifest = replace(manifest, entries={**manifest.entries, entry.name: entry})
        self._manifests[ref.run_id] = manifest
        await self._journal.write(put_manifest(manifest), *more)

    def _issue_if_due(self, run_id: str) -> None:
        """Store the manifest of a closed run once none of its files waits."""
        manifest = self._manifests.get(run_id)
        due = manifest is not None and manifest.closed
        if manifest is None or not due or any(other == run_id for other, _ in self._waiting):
            return
        document = {
            "run_id": run_id,
            "item_id": manifest.ref.item_id,
            "attempt": manifest.ref.attempt,
            "epoch": manifest.ref.epoch,
            **manifest.ending,
            "files": [entry.as_json() for entry in manifest.entries.values()],
        }
        text = json.dumps(document, indent=1).encode()
        frame = EvidenceFrame(name=MANIFEST, kind="manifest", action=-1, data=text)
        try:
            file = self._store(manifest.ref, frame)
        except OSError as error:
            log.warning("evidence.lost", name=frame.name, error=str(error))
            return
        self._bytes += file.size
        self._waiting[run_id, file.name] = file
        self._journal.write_later(put_evidence(file))
        self._changed.set()

    def _refusal(self, ref: RunRef, frame: EvidenceFrame) -> str:
        entries = self._manifest(ref).entries
        others = [entry for entry in entries.values() if entry.name != frame.name]
        if frame.name == MANIFEST:
            return "the name is reserved for the manifest"
        if sum(entry.size for entry in others) + len(frame.data) > RUN_BYTES:
            return f"the evidence of the run has reached its limit of {RUN_BYTES} bytes"
        if len(others) >= RUN_FILES:
            return f"the evidence of the run has reached its limit of {RUN_FILES} files"
        return ""

    def _make_room(self, size: int) -> None:
        """Remove the oldest files until *size* bytes fit; their manifests say so."""
        for file in self.waiting():
            if self._bytes + size <= self._most:
                return
            if file.name != MANIFEST:
                log.warning("evidence.dropped", run_id=file.ref.run_id, name=file.name)
                self.remove(
                    file, missing="the agent removed the file to make room for newer evidence"
                )

    def _store(self, ref: RunRef, frame: EvidenceFrame, *, truncated: bool = False) -> EvidenceFile:
        folder = self._folder / ref.run_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / frame.name
        scratch = folder / f".{frame.name}.part"
        scratch.write_bytes(frame.data)
        scratch.replace(path)
        return EvidenceFile(
            ref=ref,
            name=frame.name,
            kind=frame.kind,
            path=path,
            size=len(frame.data),
            sha256=hashlib.sha256(frame.data).hexdigest(),
            action_index=frame.action,
            truncated=truncated,
        )
