"""Uploads evidence to the controller, a few files at a time, until each has a receipt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc
import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.backoff import backoff
from phonefarm_common.call_status import CallStatus

from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.messages import Host
from phonefarm_agent.rpc import convert

log = structlog.get_logger()

CHUNK_BYTES = 128 * 1024
UPLOAD_SECONDS = 120.0
UPLOADS = 4
"""This many files are uploaded at a time: most are small, and wait for the controller's commit."""
# The controller has looked at the file and will never take it.
_HOPELESS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE})


class _HopelessError(Exception):
    """The file can never be uploaded; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """How often an upload has failed, and when to retry it by the event loop's clock."""

    times: int
    again_at: float


class EvidenceUploader:
    """Uploads the files that wait, oldest first; each failed file has its own back-off."""

    def __init__(
        self,
        *,
        stub: "agent_pb2_grpc.AgentServiceAsyncStub",
        metadata: tuple[tuple[str, str], ...],
        host: Host,
        changed: asyncio.Event,
        scale: float,
    ) -> None:
        self._stub = stub
        self._metadata = metadata
        self._host = host
        self._changed = changed
        self._scale = scale
        self._failures: dict[EvidenceFile, _Failure] = {}
        self._under_way: set[Path] = set()

    async def run(self) -> None:
        """Upload files until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                file, due = self._next()
                if file is not None and due <= loop.time() and len(self._under_way) < UPLOADS:
                    self._under_way.add(file.path)
                    group.create_task(self._upload_one(file), name="evidence-upload")
                    continue
                is_full = file is None or len(self._under_way) >= UPLOADS
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(None if is_full else due):
                        await self._changed.wait()

    def _next(self) -> tuple[EvidenceFile | None, float]:
        """Return the file to upload next and when: the oldest that has not failed, if there is one.

        Thousands may wait, so that only those that failed are compared.
        """
        waiting = self._host.evidence()
        failures = self._failures
        for file in waiting:
            if file not in failures and file.path not in self._under_way:
                return file, 0.0
        left = set(waiting)
        self._failures = {file: failure for file, failure in failures.items() if file in left}
        again = {
            file: failure.again_at
            for file, failure in self._failures.items()
            if file.path not in self._under_way
        }
        soonest = min(again, key=again.__getitem__, default=None)
        return soonest, 0.0 if soonest is None else again[soonest]

    async def _upload_one(self, file: EvidenceFile) -> None:
        try:
            if await self._try_upload(file):
                self._failures.pop(file, None)
                self._host.evidence_received(file)
            else:
                failed = self._failures.get(file)
                times = failed.times + 1 if failed else 1
                pause = backoff(times, first=0.5 * self._scale, most=60 * self._scale)
                again_at = asyncio.get_running_loop().time() + pause
                self._failures[file] = _Failure(times=times, again_at=again_at)
        except _HopelessError as error:
            log.warning("evidence.lost", name=file.name, error=str(error))
            self._failures.pop(file, None)
            self._host.evidence_received(file, missing=str(error))
        finally:
            self._under_way.discard(file.path)
            self._changed.set()

    async def _try_upload(self, file: EvidenceFile) -> bool:
        """Upload *file*; true once the controller has it, _HopelessError if it never can."""
        try:
            offset = await self._uploaded_size(file)
            if offset is not None:
                await self._upload(file, offset)
        except grpc.aio.AioRpcError as error:
            if error.code() in _HOPELESS:
                raise _HopelessError(
                    f"the controller refused the file: {error.details()}"
                ) from error
            log.warning("evidence.delayed", name=file.name, code=error.code().name)
            return False
        except OSError as error:
            raise _HopelessError(
                f"the file cannot be read on the host: {error.strerror}"
            ) from error
        return True

    async def _uploaded_size(self, file: EvidenceFile) -> int | None:
        """Return how many bytes the controller has from an earlier upload, None for all."""
        if file.size <= CHUNK_BYTES:
            return 0
        head = convert.evidence_to_wire(file)
        try:
            told = await self._stub.AskEvidence(
                head, metadata=self._metadata, timeout=UPLOAD_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return 0  # a controller of release 0.1.0, which takes whole files
            raise
        return None if told.evidence_id else told.received

    async def _upload(self, file: EvidenceFile, offset: int) -> None:
        with file.path.open("rb") as source:
            try:
                receipt = await self._send(file, source, offset)
            except grpc.aio.AioRpcError as error:
                if not offset or error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                # What was there is not the file's beginning, or another controller took the call.
                log.warning("evidence.resent", name=file.name, error=error.details())
                receipt = await self._send(file, source, 0)
        log.info(
            "evidence.uploaded", name=file.name, evidence_id=receipt.evidence_id, resumed_at=offset
        )

    async def _send(self, file: EvidenceFile, source: IO[bytes], offset: int) -> pb.EvidenceReceipt:
        call = self._stub.UploadEvidence(
            _chunks(file, source, offset), metadata=self._metadata, timeout=UPLOAD_SECONDS
        )
        status = CallStatus(call)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise (await status.error(error) or error) from error


async def _chunks(
    file: EvidenceFile, source: IO[bytes], offset: int
) -> AsyncIterator[pb.EvidenceChunk]:
    yield pb.EvidenceChunk(head=convert.evidence_to_wire(file, offset=offset))
    try:
        source.seek(offset)
        while data := await asyncio.to_thread(source.read, CHUNK_BYTES):
            yield pb.EvidenceChunk(data=data)
    except OSError as error:
        # grpc.aio would take what is raised here for a cancellation; a short file is refused.
        log.warning("evidence.not_read", name=file.name, error=str(error))
