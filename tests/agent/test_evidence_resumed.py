"""Evidence whose upload was cut: the next one goes on where the controller has it."""

import asyncio
import os
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import inspect_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.evidence.backends.backend import MOST_SECONDS, PARTS
from phonefarm_controller.evidence.backends.filesystem import LEAST_BYTES, FilesystemBackend
from phonefarm_controller.evidence.backends.s3 import SEGMENT
from support.controller import KEY, Farm, farm_on, played_agent, request
from support.controller_script import ScriptedController
from support.evidence import carried, log_of
from support.kept import Kept
from support.relay import Meter, relay

MIB = 1024 * 1024
SIZE = 16 * MIB
CUT_AT = 12 * MIB
UNDER_WAY = 4 * MIB
"""What gRPC may have taken that the controller has not read yet: it grows its windows to that."""

LOST = SEGMENT
"""What came and is not gone on with: a bucket has what is full."""

FRAMING = SIZE // 100
"""What HTTP/2 and protobuf add to the bytes of a file, generously."""


async def a_run(farm: Farm) -> tuple[str, pb.RunRef]:
    """Return a process and its run."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
    return accepted.process_id, assignment.run


async def lines_of(farm: Farm, process_id: str) -> list[str]:
    """Return the names of the evidence that people see."""
    answer = await farm.inspect.ListEvidence(
        inspect_pb2.ListEvidenceRequest(process_id=process_id), metadata=bearer(KEY)
    )
    return [line.name for line in answer.evidence]


async def test_an_upload_that_is_cut_goes_on_where_it_was(tmp_path: Path, kept: Kept) -> None:
    """Three quarters came before the cut: little of them is sent again, and the whole is kept."""
    data, meter = tmp_path / "data", Meter(cut_at=CUT_AT)
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", data, evidence=kept.where) as farm:
        process_id, run = await a_run(farm)
        file = log_of(run, tmp_path, size=SIZE)
        there = f"127.0.0.1:{farm.controller.port}"
        async with relay("127.0.0.1:0", there, meter) as way, carried(file, way) as desk:
            async with asyncio.timeout(180):
                await desk.received.wait()
        names = await lines_of(farm, process_id)

    assert (desk.missing, meter.cut.is_set(), names) == ("", True, ["big.log"])
    assert await asyncio.to_thread(kept.files) == {f"{run.run_id}/big.log": file.path.read_bytes()}
    assert meter.passed < SIZE + UNDER_WAY + LOST + FRAMING, (
        "more was sent again than was under way"
    )
    assert await asyncio.to_thread(kept.parts) == []


@pytest.mark.postgres
async def test_another_controller_goes_on_with_it(
    postgres_url: str, tmp_path: Path, kept: Kept
) -> None:
    """The directory is shared: what one has received before it died the other need not hear."""
    data, meter = tmp_path / "data", Meter(cut_at=CUT_AT)
    async with farm_on(postgres_url, data, evidence=kept.where) as other, asyncio.timeout(180):
        async with farm_on(postgres_url, data, evidence=kept.where) as farm:
            process_id, run = await a_run(farm)
            file = log_of(run, tmp_path, size=SIZE)
            there = f"127.0.0.1:{farm.controller.port}"
            async with relay("127.0.0.1:0", there, meter) as way, carried(file, way, scale=1):
                await meter.cut.wait()
        names = await lines_of(other, process_id)
        again = Meter()
        there = f"127.0.0.1:{other.controller.port}"
        async with relay("127.0.0.1:0", there, again) as way, carried(file, way) as desk:
            await desk.received.wait()

    assert names == []
    assert await asyncio.to_thread(kept.files) == {f"{run.run_id}/big.log": file.path.read_bytes()}
    assert again.passed < SIZE - CUT_AT + UNDER_WAY + LOST + FRAMING


async def test_a_part_that_was_spoilt_is_thrown_away(tmp_path: Path, kept: Kept) -> None:
    """A power cut may leave holes: the hash of the whole decides, and the file is sent anew."""
    data, meter = tmp_path / "data", Meter(cut_at=CUT_AT)
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", data, evidence=kept.where) as farm,
        asyncio.timeout(180),
    ):
        _, run = await a_run(farm)
        file = log_of(run, tmp_path, size=SIZE)
        there = f"127.0.0.1:{farm.controller.port}"
        async with relay("127.0.0.1:0", there, meter) as way, carried(file, way, scale=1):
            await meter.cut.wait()
        part = (await asyncio.to_thread(kept.parts))[0]
        await asyncio.to_thread(kept.put, part, bytes(SEGMENT))
        async with carried(file, there) as desk:
            await desk.received.wait()

    assert desk.missing == ""
    assert await asyncio.to_thread(kept.files) == {f"{run.run_id}/big.log": file.path.read_bytes()}
    assert await asyncio.to_thread(kept.parts) == []


async def test_a_controller_of_the_release_before_gets_whole_files(
    controller: ScriptedController, tmp_path: Path
) -> None:
    """It knows no AskEvidence: the file comes from its beginning."""
    ref = pb.RunRef(run_id="r", item_id="i", attempt=1, lease_id="l", epoch=1)
    file = log_of(ref, tmp_path, size=MIB)
    async with carried(file, controller.address) as desk, asyncio.timeout(180):
        await desk.received.wait()

    (arrived,) = controller.heard.evidence
    assert arrived.data == file.path.read_bytes()


async def test_a_controller_that_cannot_go_on_gets_the_whole_file(
    controller: ScriptedController, tmp_path: Path
) -> None:
    """The one that was asked knows a part, the one that takes the call is a release older."""
    ref = pb.RunRef(run_id="r", item_id="i", attempt=1, lease_id="l", epoch=1)
    file = log_of(ref, tmp_path, size=MIB)
    controller.manners.has_of_evidence = MIB // 2
    async with carried(file, controller.address) as desk, asyncio.timeout(180):
        await desk.received.wait()

    (arrived,) = controller.heard.evidence
    assert (controller.heard.uploads, desk.missing) == (2, "")
    assert arrived.data == file.path.read_bytes()


async def test_a_file_that_is_kept_already_is_not_sent_again(tmp_path: Path) -> None:
    """Only its receipt was lost."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm:
        _, run = await a_run(farm)
        file = log_of(run, tmp_path, size=SIZE)
        there, meter = f"127.0.0.1:{farm.controller.port}", Meter()
        async with carried(file, there) as desk, asyncio.timeout(180):
            await desk.received.wait()
        async with relay("127.0.0.1:0", there, meter) as way, carried(file, way) as desk:
            async with asyncio.timeout(180):
                await desk.received.wait()

    assert meter.passed < MIB


def test_parts_that_nobody_goes_on_with_are_removed(tmp_path: Path) -> None:
    """After a day, by the disk's own clock; younger ones stay."""
    place = FilesystemBackend(tmp_path)
    for name in ("old", "young"):
        part = place.begin(name, 0)
        part.add(bytes(LEAST_BYTES))
        part.leave()
    (old,) = (tmp_path / PARTS).glob("old.*")
    day_ago = old.stat().st_mtime - MOST_SECONDS - 1
    os.utime(old, (day_ago, day_ago))

    removed = place.sweep()

    assert removed == 1
    assert place.received("old") == 0
    assert place.received("young") == LEAST_BYTES
