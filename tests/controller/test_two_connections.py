"""Two writers on one PostgreSQL at the same instant: the locks decide; nothing is told twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, process_pb2
from phonefarm_common.clock import SystemClock
from phonefarm_common.ids import new_id
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import Report, RunEnded, RunRef
from phonefarm_controller.processes.cancel import CancelProcess, CancelRequest
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.runs.report import RecordReports
from phonefarm_controller.runs.totals import RunTotals
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.fleet_cache import FleetCache
from phonefarm_controller.store import processes
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.schema.work import queue_items
from sqlalchemy import text, update
from support.controller import Farm, farm_on, played_agent, request

pytestmark = pytest.mark.postgres

ROUNDS = 10


@asynccontextmanager
async def two_databases(url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Open the same database twice, as two controllers would."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_database(url, clock))
        second = await stack.enter_async_context(open_database(url, clock))
        yield first, second


def taking(database: Database) -> RecordReports:
    """Return the operation on one connection pool."""
    wakeups = WakeUps()
    sessions = Sessions(wakeups=wakeups, clock=SystemClock(), offer_lapses=1)
    return RecordReports(
        totals=RunTotals(),
        database=database,
        policy=RetryPolicy(),
        health=HealthPolicy(),
        wakeups=wakeups,
        sessions=sessions,
    )


def ended(run: agent_pb2.RunRef, term: int) -> Report:
    """Return the report that a run did everything."""
    ref = RunRef(
        run_id=run.run_id,
        item_id=run.item_id,
        attempt=run.attempt,
        lease_id=run.lease_id,
        epoch=run.epoch,
    )
    body = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    return Report(agent_id="agent-1", term=term, run=ref, sequence=1, body=body)


async def executing_group(
    farm: Farm, phones: tuple[str, ...]
) -> tuple[str, list[agent_pb2.RunRef], int]:
    """Bring one item per phone past the start gate; return process, runs, the session's term."""
    async with played_agent(farm, *phones) as agent:
        target = process_pb2.Target(
            routing=process_pb2.ROUTING_GROUP,
            phone_ids=[f"ph-{serialno.lower()}" for serialno in phones],
        )
        accepted = await farm.enqueue(request(target=target))
        await agent.offer()
        assigned = await agent.assigned(len(phones))
        await agent.start(*(assignment.run for assignment in assigned))
    runs = [assignment.run for assignment in assigned]
    return accepted.process_id, runs, agent.welcome.term


async def test_two_last_items_that_finish_at_once_end_the_process(
    postgres_url: str, tmp_path: Path
) -> None:
    """Each transaction sees the other's item or waits for it: one end, told once."""
    async with (
        farm_on(postgres_url, tmp_path / "data") as farm,
        two_databases(postgres_url) as (first, second),
    ):
        for number in range(ROUNDS):
            phones = (f"A{number}", f"B{number}")
            process_id, (one, two), term = await executing_group(farm, phones)

            await asyncio.gather(
                taking(first)([ended(one, term)]), taking(second)([ended(two, term)])
            )

            record = await farm.get(process_id)
            assert record.status == "completed"
            milestones = await farm.milestones(process_id)
            assert milestones == ["accepted", "executing", "completed"]


async def test_a_cancel_and_a_completion_at_once_end_the_process_once(
    postgres_url: str, tmp_path: Path
) -> None:
    """The first terminal write wins; the other changes nothing."""
    async with (
        farm_on(postgres_url, tmp_path / "data") as farm,
        two_databases(postgres_url) as (first, second),
    ):
        wakeups = WakeUps()
        sessions = Sessions(wakeups=wakeups, clock=SystemClock(), offer_lapses=1)
        cancel = CancelProcess(database=second, sessions=sessions, wakeups=wakeups, timers=Timers())
        for number in range(ROUNDS):
            process_id, (run,), term = await executing_group(farm, (f"A{number}",))
            ask = CancelRequest(
                process_id=process_id,
                reason="race",
                requested_by="test",
                strategy=CancelStrategy.HARD,
                force_after_seconds=0,
            )

            await asyncio.gather(taking(first)([ended(run, term)]), cancel(ask))

            milestones = await farm.milestones(process_id)
            assert milestones[-1] == "completed"  # it had finished everything
            assert milestones.count("completed") == 1
            assert milestones[:2] == ["accepted", "executing"]


async def test_two_claims_for_one_phone_make_one_lease(postgres_url: str, tmp_path: Path) -> None:
    """Two controllers look at the same phone and queue; one of them gets it."""
    async with (
        farm_on(postgres_url, tmp_path / "data") as farm,
        two_databases(postgres_url) as databases,
        played_agent(farm, "A1") as agent,
    ):
        views = [
            FleetCache(wakeups=WakeUps(), monotonic=SystemClock().monotonic) for _ in databases
        ]
        claims = [
            Claim(
                database=database,
                fleet_cache=view,
                assignments=AssignmentBuilder(clean_up=view.clean_up),
                disk_alarm=DiskAlarm(),
                timers=Timers(),
                ids=new_id,
            )
            for database, view in zip(databases, views, strict=True)
        ]
        for _ in range(2):
            await farm.enqueue(request())
        offer = [OfferedPhone(agent_id="agent-1", term=agent.welcome.term, phone_id="ph-a1")]

        answers = await asyncio.gather(*(claim(offer) for claim in claims))

        assert sum(len(assignments) for assignments in answers) == 1


async def test_a_deadline_that_passes_while_the_gate_waits_for_a_lock_stops_the_run(
    postgres_url: str, tmp_path: Path
) -> None:
    """Asked in time, decided too late: what counts is the moment at which nobody else can write."""
    async with (
        farm_on(postgres_url, tmp_path / "data") as farm,
        two_databases(postgres_url) as (other, watch),
        played_agent(farm, "A1") as agent,
    ):
        asked = Timestamp()
        asked.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        accepted = await farm.enqueue(request(deadline=asked))
        await agent.offer()
        (assigned,) = await agent.assigned()
        async with other.writing() as tx:
            await processes.lock(tx, {accepted.process_id})
            asking = asyncio.create_task(agent.start(assigned.run))
            await _somebody_waits(watch)
            # Later than the gate was asked, and earlier than it decides.
            sooner = (await tx.later()).now
            await tx.connection.execute(update(queue_items).values(deadline_at=sooner))
        (verdict,) = await asking
        record = await farm.until(accepted.process_id, "failed_terminal")

    assert verdict.stop.reason == "deadline_passed"
    assert record.error.code == "deadline_passed"
    assert not record.timestamps.HasField("executing_at")


async def _somebody_waits(database: Database) -> None:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while True:
        async with database.reading() as tx:
            if (await tx.connection.execute(query)).scalar_one():
                return
