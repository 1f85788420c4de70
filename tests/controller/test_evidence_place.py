"""The evidence directory is the farm's own, and shared by its controllers, or nobody starts."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from phonefarm.v1 import doctor_pb2, doctor_pb2_grpc
from phonefarm_common.channel import bearer
from phonefarm_controller.evidence.availability import WrongBackendError
from support.controller import KEY, Farm, farm_on, played_agent, request, told
from support.evidence import upload
from support.live_farm import eventually


async def _with_evidence(database_url: str, data: Path) -> None:
    async with farm_on(database_url, data) as farm, played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        await upload(farm, assignment.run, kind="log", name="run.log")


async def test_a_directory_of_another_farm_is_refused(database_url: str, tmp_path: Path) -> None:
    """Both farms are named."""
    data = tmp_path / "data"
    async with farm_on(database_url, data):
        marker = data / "evidence" / ".farm"
        assert marker.read_text() == "test\n"
    marker.write_text("other\n")

    with pytest.raises(WrongBackendError, match="belongs to the farm 'other', not to 'test'"):
        async with farm_on(database_url, data):
            pass


@pytest.mark.postgres
async def test_controllers_of_one_database_must_share_it(postgres_url: str, tmp_path: Path) -> None:
    """One without the kept evidence is refused, with the remedy; one that has it is not."""
    await _with_evidence(postgres_url, tmp_path / "data")
    (tmp_path / "data" / "evidence" / ".farm").unlink()
    elsewhere = tmp_path / "elsewhere"

    with pytest.raises(WrongBackendError, match="that all controllers of the farm share") as why:
        async with farm_on(postgres_url, elsewhere):
            pass
    async with farm_on(postgres_url, tmp_path / "data"):
        pass
    remedy = str(why.value).rpartition("create a marker: ")[2]
    await asyncio.to_thread(subprocess.run, ["sh", "-c", remedy], check=True)
    async with farm_on(postgres_url, elsewhere):
        pass

    assert (tmp_path / "data" / "evidence" / ".farm").read_text() == "test\n"


async def test_nothing_is_written_where_the_directory_was(tmp_path: Path) -> None:
    """Its mount has gone: evidence waits, and what is below is not taken for the place."""
    data = tmp_path / "data"
    evidence, away = data / "evidence", tmp_path / "away"
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", data) as farm:
        async with played_agent(farm, "A1") as agent:
            await agent.offer()
            await farm.enqueue(request())
            (assignment,) = await agent.assigned()
            await agent.start(assignment.run)
        evidence.rename(away)
        evidence.mkdir()
        await _until(farm, wrong=True)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await upload(farm, assignment.run, kind="log", name="run.log")
        nothing = list(evidence.iterdir())
        evidence.rmdir()
        away.rename(evidence)
        await _until(farm, wrong=False)
        await upload(farm, assignment.run, kind="log", name="run.log")

    assert told(refused)[0] == "evidence_away"
    assert nothing == []
    assert [path.read_bytes() for path in evidence.rglob("run.log")] == [b"seen"]


async def _until(farm: Farm, *, wrong: bool) -> None:
    """Wait for the doctor to say so."""
    stub: Any = doctor_pb2_grpc.DoctorServiceStub(farm.channel)

    async def look() -> bool:
        answer = await stub.Examine(doctor_pb2.ExamineRequest(), metadata=bearer(KEY))
        (seen,) = [found for found in answer.findings if found.check == "evidence"]
        return bool(seen.remedy) is wrong

    await eventually(look, what=f"the doctor's word, wrong: {wrong}")
