"""The upload of evidence to a controller that does not take every file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.messages import Host
from phonefarm_agent.model.run import RunRef
from phonefarm_agent.rpc.evidence_uploader import EvidenceUploader
from support.stub_calls import stub_method

AGES = 1_000_000.0


class Picky:
    """Stands for the controller: refuses the file `bad`, as if it was busy, and the host."""

    def __init__(self) -> None:
        self.waiting: list[EvidenceFile] = []
        self.refused = asyncio.Event()
        self.received = asyncio.Event()

    def evidence(self) -> tuple[EvidenceFile, ...]:
        """Return what waits."""
        return tuple(self.waiting)

    def evidence_received(self, file: EvidenceFile) -> None:
        """Forget it."""
        self.waiting.remove(file)
        self.received.set()

    @stub_method
    async def UploadEvidence(  # noqa: N802 - the stub's name
        self, chunks: AsyncIterator[pb.EvidenceChunk], **told: Any
    ) -> pb.EvidenceReceipt:
        """Take a file or refuse it."""
        head, *_ = [chunk async for chunk in chunks]
        if head.head.name == "bad":
            self.refused.set()
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, None, None)
        return pb.EvidenceReceipt(evidence_id="e")


def _file(folder: Path, name: str) -> EvidenceFile:
    path = folder / name
    path.write_bytes(b"x")
    ref = RunRef(run_id="r", item_id="i", attempt=1, lease_id="l", epoch=1)
    return EvidenceFile(ref=ref, name=name, kind="log", path=path, size=1, sha256="")


async def test_a_file_that_is_not_taken_holds_up_no_other(tmp_path: Path) -> None:
    """While one waits for its next try, an age away, what comes after it is carried at once."""
    farm, changed = Picky(), asyncio.Event()
    farm.waiting.append(_file(tmp_path, "bad"))
    uploader = EvidenceUploader(
        stub=cast("Any", farm),
        metadata=(),
        host=cast("Host", farm),
        changed=changed,
        scale=AGES,
    )
    carrying = asyncio.create_task(uploader.run())

    async with asyncio.timeout(180):
        await farm.refused.wait()
        farm.waiting.append(_file(tmp_path, "good"))
        changed.set()
        await farm.received.wait()
    carrying.cancel()

    assert [file.name for file in farm.waiting] == ["bad"]
