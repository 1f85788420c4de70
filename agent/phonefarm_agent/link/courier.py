"""Carries evidence to the controller: own streams, one file at a time, until it has a receipt."""

import asyncio
from collections.abc import AsyncIterator

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


class Courier:
    """Uploads what waits, oldest first; a file that fails goes behind the others."""

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
        self._failures: dict[EvidenceFile, int] = {}

    async def carry(self) -> None:
        """Upload for ever."""
        while True:
            self._changed.clear()
            waiting = sorted(self._host.evidence(), key=lambda file: self._failures.get(file, 0))
            if not waiting:
                self._failures.clear()
                await self._changed.wait()
                continue
            file = waiting[0]
            if await self._carried(file):
                self._failures.pop(file, None)
                self._host.evidence_received(file)
                continue
            failures = self._failures[file] = self._failures.get(file, 0) + 1
            await asyncio.sleep(backoff(failures, first=0.5 * self._scale, most=60 * self._scale))

    async def _carried(self, file: EvidenceFile) -> bool:
        """Upload *file*; true when it need not be carried again."""
        try:
            data = await asyncio.to_thread(file.path.read_bytes)
            call = self._stub.UploadEvidence(
                _chunks(file, data), metadata=self._metadata, timeout=UPLOAD_SECONDS
            )
            receipt = await call
        except grpc.aio.AioRpcError as error:
            if error.code() in _HOPELESS:
                log.warning("evidence.refused", name=file.name, error=error.details())
                return True
            log.warning("evidence.delayed", name=file.name, code=error.code().name)
            return False
        except OSError as error:
            log.warning("evidence.lost", name=file.name, error=str(error))
            return True
        log.info("evidence.uploaded", name=file.name, evidence_id=receipt.evidence_id)
        return True


async def _chunks(file: EvidenceFile, data: bytes) -> AsyncIterator[pb.EvidenceChunk]:
    yield convert.evidence_to_wire(file)
    for start in range(0, len(data), CHUNK_BYTES):
        yield pb.EvidenceChunk(data=data[start : start + CHUNK_BYTES])
