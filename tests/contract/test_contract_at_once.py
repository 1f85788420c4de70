"""Many at once: what is asked for fifty times happens once, and ends in one way."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from support.rest_farm import RestFarm, rest_farm

TIMES = 50


async def test_fifty_identical_enqueues_make_one_process(moving: RestFarm) -> None:
    """One 202, the others 200, all with one process id."""
    body = moving.body()

    answers = await asyncio.gather(
        *(moving.post("/capability-requests/enqueue", body) for _ in range(TIMES))
    )

    assert Counter(answer.status for answer in answers) == {202: 1, 200: TIMES - 1}
    assert len({answer.body["process_id"] for answer in answers}) == 1
    assert len((await moving.get("/processes"))["processes"]) == 1
    assert not [answer for answer in answers if "request_differs" in answer.body]


async def test_fifty_identical_ingests_make_one_item(moving: RestFarm) -> None:
    """One 202, the others 200, all with one item."""
    body = {
        "content_id": "c",
        "account_id": "acc-SIM1",
        "video_path": moving.receiver.url("/v.mp4"),
        "caption": "tea",
    }

    answers = await asyncio.gather(*(moving.post("/ingest", body) for _ in range(TIMES)))

    assert Counter(answer.status for answer in answers) == {202: 1, 200: TIMES - 1}
    assert len({answer.body["queue_item_id"] for answer in answers}) == 1
    assert len((await moving.get("/processes"))["processes"]) == 1


@pytest.mark.parametrize("strategy", ["soft", "hard"])
async def test_a_cancel_that_races_completion_ends_in_one_way(
    tmp_path: Path, strategy: str
) -> None:
    """Whichever wins: one terminal status, told once, and never another afterwards."""
    async with rest_farm(tmp_path) as farm:
        for number in range(8):
            process_id = await farm.enqueue(request_id=f"race-{number}")
            assignment = await farm.begun("SIM1")

            await asyncio.gather(
                farm.cancel(process_id, strategy=strategy),
                farm.agent.report(*farm.agent.whole_run(assignment)),
            )
            record = await farm.until(process_id, "completed", "cancelled")

            again = await farm.cancel(process_id)
            assert again["status"] == "ignored_terminal"
            assert (await farm.record(process_id))["status"] == record["status"]
            ends = await _ends(farm, process_id)
            assert ends == [record["status"]]


async def _ends(farm: RestFarm, process_id: str) -> list[str]:
    """Return the terminal milestones that were told, once one was."""
    terminal = {"completed", "cancelled", "failed_terminal"}
    count = 1
    while True:
        received = await farm.receiver.wait(count)
        events = [one.event for one in received]
        told = [e["milestone"] for e in events if e["process"]["process_id"] == process_id]
        if ends := [milestone for milestone in told if milestone in terminal]:
            return ends
        count = len(received) + 1


async def test_cancels_at_once_agree(moving: RestFarm) -> None:
    """Of many cancels of waiting work one does it; all others find it ended."""
    process_id = await moving.enqueue()

    answers = await asyncio.gather(*(moving.cancel(process_id) for _ in range(TIMES)))

    assert Counter(answer["status"] for answer in answers) == {
        "cancel_requested": 1,
        "ignored_terminal": TIMES - 1,
    }
    assert {answer["process"]["status"] for answer in answers} == {"cancelled"}
