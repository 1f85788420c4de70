"""ListProcesses: every filter, pages that miss nothing and repeat nothing, pages that fit."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import process_pb2 as pb
from phonefarm_common.channel import bearer
from support.controller import KEY, Farm, played_agent, request, told
from support.once import ONE_ENGINE


async def _ids(farm: Farm, **wanted: Any) -> list[str]:
    asked = pb.ListProcessesRequest(**wanted)
    answer = await farm.processes.ListProcesses(asked, metadata=bearer(KEY))
    return [process.process_id for process in answer.processes]


async def _enqueued(farm: Farm, **changes: Any) -> str:
    return (await farm.enqueue(request(**changes))).process_id


async def test_each_filter_keeps_what_matches(farm: Farm) -> None:
    """Type, system, request, account, phone, status and time; together they all hold."""
    async with played_agent(farm, "L1", "L2") as agent:
        one = await _enqueued(farm)
        between = Timestamp()
        between.FromDatetime(datetime.now(UTC))
        two = await _enqueued(farm)
        first, second = await farm.get(one), await farm.get(two)
        await agent.offer()
        (assignment, *_) = await agent.assigned()

        assert set(await _ids(farm)) == {one, two}
        assert await _ids(farm, request_id=first.request_id) == [one]
        assert await _ids(farm, system="nobody") == []
        assert set(await _ids(farm, system=first.requested_by.system)) == {one, two}
        assert await _ids(farm, process_types=["fyp_warmup"]) == []
        assert set(await _ids(farm, process_types=["fyp_warmup", first.process_type])) == {one, two}
        assert await _ids(farm, created_before=between) == [one]
        assert await _ids(farm, created_from=between) == [two]
        assert assignment.process_id in await _ids(farm, phone_id=assignment.phone_id)
        assert assignment.process_id in await _ids(farm, account_id=assignment.account_id)
        assert await _ids(farm, phone_id="ph-none") == []
        assert await _ids(farm, account_id="none") == []
        assert await _ids(farm, statuses=["completed"]) == []
        assert await _ids(farm, statuses=["queued"], request_id=second.request_id) == [two]


async def test_pages_miss_nothing_while_work_comes_in(farm: Farm) -> None:
    """Newest first; what is new meanwhile is on no later page, and nothing is on two."""
    async with played_agent(farm, "L1"):
        made = [await _enqueued(farm) for _ in range(7)]
        seen: list[str] = []
        cursor = ""
        while True:
            answer = await farm.processes.ListProcesses(
                pb.ListProcessesRequest(limit=3, cursor=cursor), metadata=bearer(KEY)
            )
            seen += [process.process_id for process in answer.processes]
            cursor = answer.next_cursor
            if not cursor:
                break
            await _enqueued(farm)

    assert seen == made[::-1]


@ONE_ENGINE
@pytest.mark.parametrize("cursor", ["x", "W10=", "bnVsbA==", "WzEsICJ4Il0=", "[" * 50, "é"])
async def test_a_cursor_that_is_none_is_refused(farm: Farm, cursor: str) -> None:
    """It names the field; nothing is listed from somewhere else."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ids(farm, cursor=cursor)

    assert told(refused) == ("invalid_request", ["cursor"])


async def test_a_page_of_large_processes_is_shorter(farm: Farm) -> None:
    """Many large records come in several pages, each of which fits in a message."""
    metadata = json.dumps({"note": "x" * 200_000})
    async with played_agent(farm, "L1"):
        made = []
        for _ in range(12):
            asked = request()
            asked.callback.metadata_json = metadata
            made.append((await farm.enqueue(asked)).process_id)
        seen: list[str] = []
        pages = 0
        cursor = ""
        while cursor or not pages:
            answer = await farm.processes.ListProcesses(
                pb.ListProcessesRequest(limit=500, cursor=cursor), metadata=bearer(KEY)
            )
            seen += [process.process_id for process in answer.processes]
            cursor = answer.next_cursor
            pages += 1

    assert seen == made[::-1]
    assert pages > 1


@ONE_ENGINE
async def test_a_moment_out_of_the_calendar_is_refused(farm: Farm) -> None:
    """A hostile timestamp names its field."""
    far = Timestamp(seconds=int(timedelta(days=366 * 9000).total_seconds()))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ids(farm, created_from=far)

    assert told(refused) == ("invalid_request", ["created_from"])
