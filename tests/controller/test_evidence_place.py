"""The evidence directory is the farm's own, and shared by its controllers, or nobody starts."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from phonefarm_controller.operations.evidence_place import WrongPlaceError
from support.controller import farm_on, played_agent, request
from support.evidence import upload


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

    with pytest.raises(WrongPlaceError, match="belongs to the farm 'other', not to 'test'"):
        async with farm_on(database_url, data):
            pass


@pytest.mark.postgres
async def test_controllers_of_one_database_must_share_it(postgres_url: str, tmp_path: Path) -> None:
    """One without the kept evidence is refused, with the remedy; one that has it is not."""
    await _with_evidence(postgres_url, tmp_path / "data")
    (tmp_path / "data" / "evidence" / ".farm").unlink()
    elsewhere = tmp_path / "elsewhere"

    with pytest.raises(WrongPlaceError, match="the place that all its controllers share") as why:
        async with farm_on(postgres_url, elsewhere):
            pass
    async with farm_on(postgres_url, tmp_path / "data"):
        pass
    remedy = str(why.value).rpartition("into the marker: ")[2]
    await asyncio.to_thread(subprocess.run, ["sh", "-c", remedy], check=True)
    async with farm_on(postgres_url, elsewhere):
        pass

    assert (tmp_path / "data" / "evidence" / ".farm").read_text() == "test\n"
