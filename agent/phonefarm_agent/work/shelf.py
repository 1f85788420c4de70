"""Evidence on this host's disk until the controller has it: bounded."""

import asyncio
import hashlib
import json
from pathlib import Path

import structlog

from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.work.control import Frame
from phonefarm_agent.work.journal import Journal
from phonefarm_agent.work.tables import drop_evidence, put_evidence

log = structlog.get_logger()

RUN_BYTES = 20 * 1024 * 1024
RUN_FILES = 100
ALL_BYTES = 1024 * 1024 * 1024


class Shelf:
    """Files below one directory, a folder a run; the journal knows each that waits for upload."""

    def __init__(
        self,
        *,
        place: Path,
        journal: Journal,
        changed: asyncio.Event,
        kept: tuple[EvidenceFile, ...] = (),
    ) -> None:
        self._place = place
        self._journal = journal
        self._changed = changed
        self._waiting = {(file.ref.run_id, file.name): file for file in kept}
        self._bytes = sum(file.size for file in kept)
        self._of_run: dict[str, dict[str, dict[str, object]]] = {}
        self._run_bytes: dict[str, int] = {}

    def waiting(self) -> tuple[EvidenceFile, ...]:
        """Return the files that wait for upload, oldest first."""
        return tuple(self._waiting.values())

    def sweep(self) -> None:
        """Remove what no journal entry names: half files, and all that a lost journal leaves.

        To be called before anything is put. Blocking; what cannot be removed is logged.
        """
        known = {file.path for file in self._waiting.values()}
        for folder in self._place.iterdir() if self._place.is_dir() else ():
            try:
                for path in folder.iterdir():
                    if path not in known:
                        path.unlink()
                        log.info("evidence.swept", run_id=folder.name, name=path.name)
                if not any(folder.iterdir()):
                    folder.rmdir()
            except OSError as error:
                log.warning("evidence.not_swept", run_id=folder.name, error=str(error))

    async def put(self, ref: RunRef, frame: Frame) -> None:
        """Store what an executor handed over; above a limit only the manifest names it."""
        refusal = self._refusal(ref, frame)
        entry: dict[str, object] = {"name": frame.name, "kind": frame.kind, "action": frame.action}
        self._of_run.setdefault(ref.run_id, {})[frame.name] = entry
        if refusal:
            entry["missing"] = refusal
            log.warning("evidence.refused", name=frame.name, reason=refusal)
            return
        try:
            file = await asyncio.to_thread(self._store, ref, frame)
        except OSError as error:
            entry["missing"] = f"not stored: {error.strerror}"
            log.warning("evidence.lost", name=frame.name, error=str(error))
            return
        entry |= {"bytes": file.size, "sha256": file.sha256, "truncated": False}
        self._run_bytes[ref.run_id] = self._run_bytes.get(ref.run_id, 0) + file.size
        await self._add(file)

    async def close(self, ref: RunRef) -> None:
        """Add the manifest of a run that ended, if it left evidence."""
        entries = self._of_run.pop(ref.run_id, None)
        self._run_bytes.pop(ref.run_id, None)
        if not entries:
            return
        text = json.dumps({"run_id": ref.run_id, "files": list(entries.values())}, indent=1)
        frame = Frame(name="manifest.json", kind="manifest", action=-1, data=text.encode())
        try:
            file = await asyncio.to_thread(self._store, ref, frame)
        except OSError as error:
            log.warning("evidence.lost", name=frame.name, error=str(error))
            return
        await self._add(file)

    def remove(self, file: EvidenceFile) -> None:
        """Forget a file: the controller has it, or never will."""
        found = self._waiting.get((file.ref.run_id, file.name))
        if found != file:
            return  # A newer one of that name waits.
        del self._waiting[file.ref.run_id, file.name]
        self._bytes -= file.size
        self._journal.note(drop_evidence(file))
        file.path.unlink(missing_ok=True)
        if not any(run_id == file.ref.run_id for run_id, _ in self._waiting):
            try:
                file.path.parent.rmdir()
            except OSError:
                return  # A run that goes on is about to put more there.

    async def _add(self, file: EvidenceFile) -> None:
        older = self._waiting.pop((file.ref.run_id, file.name), None)
        self._bytes += file.size - (older.size if older else 0)
        await self._journal.keep(put_evidence(file))
        self._waiting[file.ref.run_id, file.name] = file
        self._changed.set()

    def _refusal(self, ref: RunRef, frame: Frame) -> str:
        if self._run_bytes.get(ref.run_id, 0) + len(frame.data) > RUN_BYTES:
            return f"the run's {RUN_BYTES} bytes are used up"
        if len(self._of_run.get(ref.run_id, ())) >= RUN_FILES:
            return f"the run's {RUN_FILES} files are used up"
        if self._bytes + len(frame.data) > ALL_BYTES:
            return "the host's room for evidence is used up"
        return ""

    def _store(self, ref: RunRef, frame: Frame) -> EvidenceFile:
        folder = self._place / ref.run_id
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
        )
