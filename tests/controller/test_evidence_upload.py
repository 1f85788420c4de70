"""Evidence of a run: kept whole and once, or refused, and never anywhere else."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from phonefarm.v1 import agent_pb2, agent_pb2_grpc
from phonefarm_common.ids import new_id
from phonefarm_controller.evidence.backends.filesystem import (
    FilesystemBackend,
    FilesystemPartialFile,
)
from support.controller import Farm, played_agent, request
from support.hostile import AS_AGENT
from support.live_farm import eventually

PNG = b"\x89PNG\r\n" + bytes(range(256)) * 10


async def upload(
    farm: Farm, head: agent_pb2.EvidenceHead | None, *parts: bytes, first: bytes | None = None
) -> str:
    """Send the head, then the parts; return the id of what is kept."""
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    chunks = [] if first is None else [agent_pb2.EvidenceChunk(data=first)]
    if head is not None:
        chunks.append(agent_pb2.EvidenceChunk(head=head))
    chunks += [agent_pb2.EvidenceChunk(data=part) for part in parts]
    receipt = await stub.UploadEvidence(iter(chunks), metadata=AS_AGENT)
    return str(receipt.evidence_id)


def head_for(run: agent_pb2.RunRef, data: bytes = PNG, **changes: Any) -> agent_pb2.EvidenceHead:
    """Return what a screenshot of the run claims to be; *changes* replace fields."""
    values: dict[str, Any] = {
        "run": run,
        "name": "a1-screen.png",
        "kind": "screenshot",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "action_index": 1,
    }
    return agent_pb2.EvidenceHead(**(values | changes))


def files_in(data: Path) -> dict[str, bytes]:
    """Return every file below the evidence directory, and beside it, by name."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and "farm.db" not in path.name and path.name != ".farm"
    }


async def a_run(farm: Farm) -> tuple[str, agent_pb2.RunRef]:
    """Return a process and its run, which goes on."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
    return accepted.process_id, assignment.run


async def test_a_file_is_kept_whole_and_once(farm: Farm, tmp_path: Path) -> None:
    """In any cut; the same file again is the same evidence."""
    process_id, run = await a_run(farm)
    data = tmp_path / "data"

    kept = await upload(farm, head_for(run), PNG[:1], b"", PNG[1:])
    again = await upload(farm, head_for(run), PNG)
    other = await upload(farm, head_for(run, b"", name="empty.log", kind="log"))

    assert again == kept != other
    assert files_in(data) == {
        f"evidence/{process_id}/{run.run_id}/a1-screen.png": PNG,
        f"evidence/{process_id}/{run.run_id}/empty.log": b"",
    }


async def test_a_second_file_of_the_same_name_does_not_replace_the_first(
    farm: Farm, tmp_path: Path
) -> None:
    """What was kept is evidence: it stays what its line in the database says."""
    process_id, run = await a_run(farm)
    await upload(farm, head_for(run), PNG)
    other = os.urandom(500)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await upload(farm, head_for(run, other), other)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    name = f"evidence/{process_id}/{run.run_id}/a1-screen.png"
    assert files_in(tmp_path / "data") == {name: PNG}


async def test_what_is_not_what_it_says_is_refused_and_leaves_nothing(
    farm: Farm, tmp_path: Path
) -> None:
    """Sizes, hashes, names, kinds, runs: each wrong one is named, no file stays."""
    _, run = await a_run(farm)
    wrong_runs = (
        agent_pb2.RunRef(run_id=new_id(), lease_id=run.lease_id, epoch=run.epoch),
        agent_pb2.RunRef(run_id=run.run_id, lease_id=new_id(), epoch=run.epoch),
        agent_pb2.RunRef(run_id=run.run_id, lease_id=run.lease_id, epoch=run.epoch - 1),
        agent_pb2.RunRef(run_id="../../etc", lease_id=run.lease_id, epoch=run.epoch),
    )
    names = ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b/..", ".hidden", "a\0b", "x" * 200)
    wrong: list[tuple[agent_pb2.EvidenceHead | None, Iterable[bytes]]] = [
        (head_for(run, bytes=len(PNG) - 1), [PNG]),
        (head_for(run, bytes=len(PNG) + 1), [PNG]),
        (head_for(run, bytes=-1), [PNG]),
        (head_for(run, bytes=2**40), [PNG]),
        (head_for(run), []),
        (head_for(run), [PNG, b"more"]),
        (head_for(run), [PNG[:-1] + b"x"]),
        (head_for(run, sha256=""), [PNG]),
        (head_for(run, sha256="\0" * 64), [PNG]),
        (head_for(run, kind="novel"), [PNG]),
        (head_for(run), [bytes(2**20 + 1)]),
        (head_for(run, offset=-1), [PNG]),
        (head_for(run, offset=len(PNG) + 1), []),
        (head_for(run, offset=1), [PNG[1:]]),
        (None, [PNG]),
        (None, []),
        *((head_for(run, name=name), [PNG]) for name in names),
        *((head_for(other), [PNG]) for other in wrong_runs),
    ]
    for head, parts in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await upload(farm, head, *parts)

        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, head

    assert files_in(tmp_path / "data") == {}
    await upload(farm, head_for(run), PNG)


async def test_an_upload_that_breaks_off_leaves_nothing(farm: Farm, tmp_path: Path) -> None:
    """Neither a part of the file nor a line; the repeat is taken."""
    _, run = await a_run(farm)
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    call = stub.UploadEvidence(metadata=AS_AGENT)
    await call.write(agent_pb2.EvidenceChunk(head=head_for(run)))
    await call.write(agent_pb2.EvidenceChunk(data=PNG[:100]))

    call.cancel()
    kept = await upload(farm, head_for(run), PNG)

    assert kept
    assert list(files_in(tmp_path / "data").values()) == [PNG]


async def test_only_agents_bring_evidence(farm: Farm) -> None:
    """A caller's key is not enough."""
    _, run = await a_run(farm)
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    chunks = [agent_pb2.EvidenceChunk(head=head_for(run))]

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.UploadEvidence(iter(chunks), metadata=(("authorization", "Bearer test-key"),))

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_part_whose_upload_is_cancelled_while_it_is_opened_is_closed(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody will close it later: what was opened is given back at once."""
    _, run = await a_run(farm)
    opened, go_on = threading.Event(), threading.Event()
    begun: list[FilesystemPartialFile] = []
    begin = FilesystemBackend.begin

    def slowly(place: FilesystemBackend, key: str, offset: int) -> FilesystemPartialFile:
        begun.append(begin(place, key, offset))
        opened.set()
        assert go_on.wait(180)
        return begun[0]

    monkeypatch.setattr(FilesystemBackend, "begin", slowly)

    async def unfinished() -> AsyncIterator[agent_pb2.EvidenceChunk]:
        # Its bytes do not come: it must not be whole before the controller hears of the end.
        yield agent_pb2.EvidenceChunk(head=head_for(run))
        await asyncio.Event().wait()

    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    call = stub.UploadEvidence(unfinished(), metadata=AS_AGENT)
    assert await asyncio.to_thread(opened.wait, 180)

    call.cancel()
    go_on.set()

    async def closed() -> bool:
        return begun[0]._file.closed and files_in(tmp_path / "data") == {}

    await eventually(closed, what="the end of the part")
