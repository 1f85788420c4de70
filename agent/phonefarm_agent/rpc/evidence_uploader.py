"""Uploads evidence to the controller, one file at a time, until each has a receipt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import grpc
import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.backoff import backoff

from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.messages import Host
from phonefarm_agent.rpc import convert

log = structlog.get_logger()

CHUNK_BYTES = 128 * 1024
UPLOAD_SECONDS = 120.0
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

    async def run(self) -> None:
        """Upload files until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            waiting = self._host.evidence()
            failures = self._failures = {
                file: failure for file, failure in self._failures.items() if file in waiting
            }
            due = {file: failures[file].again_at if file in failures else 0.0 for file in waiting}
            file = min(waiting, key=due.__getitem__, default=None)
            if file is None or due[file] > loop.time():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(None if file is None else due[file]):
                        await self._changed.wait()
                continue
            try:
                uploaded = await self._try_upload(file)
            except _HopelessError as error:
                log.warning("evidence.lost", name=file.name, error=str(error))
                self._host.evidence_received(file, missing=str(error))
                continue
            if uploaded:
                self._host.evidence_received(file)
                continue
            times = failures[file].times + 1 if file in failures else 1
            pause = backoff(times, first=0.5 * self._scale, most=60 * self._scale)
            failures[file] = _Failure(times=times, again_at=loop.time() + pause)

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
        return await self._stub.UploadEvidence(
            _chunks(file, source, offset), metadata=self._metadata, timeout=UPLOAD_SECONDS
        )


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
