"""Carries evidence to the controller: own streams, one file at a time, until it has a receipt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import grpc
import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.backoff import backoff

from phonefarm_agent.link import convert
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.talk import Host

log = structlog.get_logger()

CHUNK_BYTES = 128 * 1024
UPLOAD_SECONDS = 120.0
# The controller has looked at the file and will never take it.
_HOPELESS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE})


class _HopelessError(Exception):
    """The controller will never have the file; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """How often a file was not carried, and when (the loop's clock) to try it again."""

    times: int
    again_at: float


class Courier:
    """Uploads what waits, oldest first; a file that fails waits alone for its next try."""

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

    async def carry(self) -> None:
        """Upload for ever."""
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
                carried = await self._carried(file)
            except _HopelessError as error:
                log.warning("evidence.lost", name=file.name, error=str(error))
                self._host.evidence_received(file, missing=str(error))
                continue
            if carried:
                self._host.evidence_received(file)
                continue
            times = failures[file].times + 1 if file in failures else 1
            pause = backoff(times, first=0.5 * self._scale, most=60 * self._scale)
            failures[file] = _Failure(times=times, again_at=loop.time() + pause)

    async def _carried(self, file: EvidenceFile) -> bool:
        """Upload *file*; true once the controller has it, _HopelessError when it never will."""
        try:
            data = await asyncio.to_thread(file.path.read_bytes)
            call = self._stub.UploadEvidence(
                _chunks(file, data), metadata=self._metadata, timeout=UPLOAD_SECONDS
            )
            receipt = await call
        except grpc.aio.AioRpcError as error:
            if error.code() in _HOPELESS:
                raise _HopelessError(f"refused by the controller: {error.details()}") from error
            log.warning("evidence.delayed", name=file.name, code=error.code().name)
            return False
        except OSError as error:
            raise _HopelessError(f"not readable on the host: {error.strerror}") from error
        log.info("evidence.uploaded", name=file.name, evidence_id=receipt.evidence_id)
        return True


async def _chunks(file: EvidenceFile, data: bytes) -> AsyncIterator[pb.EvidenceChunk]:
    yield convert.evidence_to_wire(file)
    for start in range(0, len(data), CHUNK_BYTES):
        yield pb.EvidenceChunk(data=data[start : start + CHUNK_BYTES])
