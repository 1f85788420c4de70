"""The controller's metrics of phones and work: what a scrape says of a farm at work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import agent_pb2
from phonefarm_controller.monitoring import farm_counts
from phonefarm_controller.runs.totals import BUCKETS, OTHER, Durations, RunTotals
from support.controller import PATIENCE, Farm, farm_on, played_agent, request
from support.metrics_page import page

Page = dict[tuple[str, ...], float]


@pytest.fixture
async def farm(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Farm]:
    """Run a controller that counts often and serves its metrics."""
    monkeypatch.setattr(farm_counts, "PERIOD_SECONDS", 0.1)
    async with farm_on(database_url, tmp_path / "data", metrics=("127.0.0.1", 0)) as it:
        yield it


async def until(farm: Farm, holds: Callable[[Page], Any]) -> Page:
    """Return the metrics once they hold; TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            metrics = await asyncio.to_thread(page, farm)
            if holds(metrics):
                return metrics


async def test_phones_items_and_callbacks_are_counted(farm: Farm) -> None:
    """By state; the work of a farm that waits has an age."""
    async with played_agent(farm, "A1", "A2") as agent:
        await agent.offer()
        await until(farm, lambda now: now.get(("phones", "free")) == 2)
        for number in range(2):
            await farm.enqueue(request(request_id=f"r-{number}"))
        await agent.assigned(2)
        busy = await until(farm, lambda now: now.get(("phones", "busy")) == 2)
        await farm.enqueue(request(request_id="r-9"))
        waits = await until(
            farm, lambda now: now.get(("items", "QUEUED", "keyword_warmup", "shortvideo")) == 1
        )

    assert busy[("items", "CLAIMED", "keyword_warmup", "shortvideo")] == 2
    assert busy[("callbacks_owed", "pending")] >= 2
    assert waits[("oldest_item_seconds", "keyword_warmup", "shortvideo")] >= 0


async def test_runs_are_counted_by_outcome_and_code(farm: Farm) -> None:
    """One that was done and one that failed, each with its duration."""
    failure = agent_pb2.Failure(
        code="phone_lost", message="gone", failure_class=agent_pb2.FAILURE_CLASS_INFRA
    )
    async with played_agent(farm, "A1", "A2") as agent:
        await agent.offer()
        for number in range(2):
            await farm.enqueue(request(request_id=f"r-{number}"))
        first, second = await agent.assigned(2)
        await agent.start(first.run, second.run)
        await agent.report(*agent.whole_run(first))
        await agent.report(*agent.failed_run(second.run, failure))
        now = await asyncio.to_thread(page, farm)

    assert now[("runs_ended_total", "", "done", "keyword_warmup")] == 1
    assert now[("runs_ended_total", "failed", "keyword_warmup", "phone_lost")] == 1
    assert now[("run_seconds_count", "keyword_warmup")] == 2
    assert now[("run_seconds_bucket", "+Inf", "keyword_warmup")] == 2


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    """The bound itself belongs to the bucket; what is longer than all goes to the last."""
    durations = Durations()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] + 0.1, BUCKETS[-1] + 1):
        durations.add(seconds)

    assert durations.buckets[:2] == [2, 1]
    assert durations.buckets[-1] == 1
    assert sum(durations.buckets) == 4
    assert durations.seconds == pytest.approx(BUCKETS[0] * 2 + 1.1 + BUCKETS[-1])


def test_an_unknown_code_does_not_become_a_label() -> None:
    """An agent of another release may send any word; the number of series stays small."""

    class Thing:
        """Only what is counted."""

        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    begun = datetime(2026, 1, 1, tzinfo=UTC)
    run: Any = Thing(outcome="failed", started_at=begun, ended_at=begun + timedelta(seconds=9))
    totals = RunTotals()
    for code in ("phone_lost", "made_up_1", "made_up_2"):
        item: Any = Thing(capability="c", failure=Thing(code=code))
        totals.add(item, run)

    assert dict(totals.ended) == {("c", "failed", "phone_lost"): 1, ("c", "failed", OTHER): 2}
