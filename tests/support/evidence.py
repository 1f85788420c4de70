"""Evidence that a played agent uploads."""

import hashlib
from typing import Any

from phonefarm.v1 import agent_pb2, agent_pb2_grpc
from phonefarm_common.channel import bearer
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
