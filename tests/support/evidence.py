"""Evidence that a played agent uploads, or that the real one's courier does."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from phonefarm.v1 import agent_pb2, agent_pb2_grpc
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.messages import Host
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.rpc.evidence_uploader import EvidenceUploader
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.timers import Timers
from support.controller import AGENT_TOKEN, Farm

VERIFIED = (("screenshot", "verified.png"), ("ui_dump", "verified.xml"))
"""Kind and name of what proves a verification."""


async def upload(
    farm: Farm, run: agent_pb2.RunRef, *, kind: str, name: str, data: bytes = b"seen"
) -> None:
    """Upload a file of the run."""
    head = agent_pb2.EvidenceHead(
        run=run, name=name, kind=kind, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    size = 64 * 1024
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    chunks = [agent_pb2.EvidenceChunk(data=part) for part in parts]
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    await stub.UploadEvidence(
        iter([agent_pb2.EvidenceChunk(head=head), *chunks]), metadata=bearer(AGENT_TOKEN)
    )


class Desk:
    """Stands for the agent's shelf: one file waits, and its end is told."""

    def __init__(self, file: EvidenceFile) -> None:
        self._file = file
        self.received = asyncio.Event()
        self.missing = ""

    def evidence(self) -> tuple[EvidenceFile, ...]:
        """Return what waits."""
        return () if self.received.is_set() else (self._file,)

    def evidence_received(self, file: EvidenceFile, *, missing: str = "") -> None:
        """Forget it."""
        self.missing = missing
        self.received.set()


@asynccontextmanager
async def carried(file: EvidenceFile, address: str, *, scale: float = 0.05) -> AsyncIterator[Desk]:
    """Carry the file to the controller at *address* while the block runs."""
    desk = Desk(file)
    channel = open_channel(address, Timers().scaled(scale))
    uploader = EvidenceUploader(
        stub=agent_pb2_grpc.AgentServiceStub(channel),
        metadata=bearer(AGENT_TOKEN),
        host=cast("Host", desk),
        changed=asyncio.Event(),
        scale=scale,
    )
    carrying = asyncio.create_task(uploader.run())
    try:
        yield desk
    finally:
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
        await channel.close(None)


def log_of(run: agent_pb2.RunRef, folder: Path, *, size: int) -> EvidenceFile:
    """Return a run's log of *size* bytes."""
    path = folder / "big.log"
    path.write_bytes(random.Random(7).randbytes(size))
    return EvidenceFile(
        ref=RunRef(
            run_id=run.run_id,
            item_id=run.item_id,
            attempt=run.attempt,
            lease_id=run.lease_id,
            epoch=run.epoch,
        ),
        name="big.log",
        kind="log",
        path=path,
        size=size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
