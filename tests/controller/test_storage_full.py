"""A controller whose disk fills up, on a real small file system: refuse, end what runs, recover."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from phonefarm.v1 import agent_pb2, inspect_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.disk_space import GIB, MIB, DiskFigures, RequiredFree
from support.controller import KEY, PATIENCE, Farm, farm_on, played_agent, request, told
from support.disk import LEAST, RESERVE, fill
from support.live_farm import eventually


@pytest.fixture
async def farm(disk: Path) -> AsyncIterator[Farm]:
    """Run a controller with data and database on that file system."""
    database = f"sqlite:///{disk / 'farm.db'}"
    async with farm_on(database, disk, least_free=LEAST, reserve=RESERVE) as running:
        yield running


async def _until_refused(farm: Farm) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await farm.enqueue(request())
            except grpc.aio.AioRpcError as refused:
                if refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    return str(refused.details())
            await asyncio.sleep(0.02)


async def _until_accepted(farm: Farm) -> process_pb2.EnqueueResponse:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await farm.enqueue(request())
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)


async def _until_there(path: Path, *, there: bool) -> None:
    async def look() -> bool:
        return (await asyncio.to_thread(path.exists)) is there

    await eventually(look, what=f"{path.name} there: {there}", within=PATIENCE)


async def test_a_full_disk_refuses_new_work_and_ends_what_runs(farm: Farm, disk: Path) -> None:
    """By name and in explain; nothing is claimed; results get through; then all goes on."""
    reserve = disk / "reserve"
    await _until_there(reserve, there=True)
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        first = request()
        running = await farm.enqueue(first)
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        waiting = (await farm.enqueue(request())).process_id

        await asyncio.to_thread(fill, disk, leave=RESERVE + 8 * MIB)
        said = await _until_refused(farm)
        repeat = await farm.enqueue(first)
        told_why = await farm.inspect.ExplainProcess(
            inspect_pb2.ExplainProcessRequest(process_id=waiting), metadata=bearer(KEY)
        )
        await asyncio.to_thread(fill, disk, leave=0)
        await _until_there(reserve, there=False)
        await agent.report(*agent.whole_run(assignment))
        ended = await farm.until(running.process_id, "completed")
        await agent.offer()
        still = await farm.get(waiting)
        (disk / "ballast").unlink()
        await _until_accepted(farm)
        (next_one,) = await agent.assigned()

    assert "MiB free, at least 24 MiB are needed" in said
    assert repeat.duplicate
    assert "storage_full" in [reason.reason for reason in told_why.reasons]
    assert ended.status == "completed"
    assert still.status == "queued"
    assert isinstance(next_one, agent_pb2.Assignment)
    await _until_there(reserve, there=True)
    assert reserve.stat().st_blocks * 512 >= RESERVE


async def test_the_refusal_has_its_own_name(farm: Farm, disk: Path) -> None:
    """Callers of REST read 503 `storage_full` from it."""
    await asyncio.to_thread(fill, disk, leave=RESERVE)
    await _until_refused(farm)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await farm.enqueue(request())

    assert told(refused)[0] == "storage_full"


@pytest.mark.parametrize(
    ("total", "free", "short"),
    [
        (100 * GIB, 5 * GIB, False),
        (100 * GIB, 5 * GIB - 1, True),
        (10 * GIB, GIB, False),
        (10 * GIB, GIB - 1, True),
        (GIB // 2, GIB // 2, True),
    ],
)
def test_both_limits_count(total: int, free: int, *, short: bool) -> None:
    """Five per cent and one GiB, whichever is more."""
    shortage = DiskFigures(total=total, free=free).shortage(RequiredFree())

    assert bool(shortage) is short
