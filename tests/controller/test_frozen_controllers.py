"""Controllers as processes on one PostgreSQL that are stopped (SIGSTOP) and come back late.

Whatever they still write then is refused: of agents, of loops, of claims that were under way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2
from phonefarm_common.channel import open_channel
from phonefarm_common.timers import Timers
from support.controller import Farm, played_agent, request
from support.live_farm import eventually
from support.programs import Programs, programs

pytestmark = [pytest.mark.postgres, pytest.mark.long]

SCALE = 0.2
PATIENT = replace(Timers().scaled(SCALE), keepalive_agent=300, keepalive_agent_timeout=300)
"""The frozen one is not hung up on: what is said to it meanwhile waits for it."""


@dataclass(frozen=True, kw_only=True)
class Two:
    """Two controllers, as clients see them."""

    made: Programs
    one: Farm
    two: Farm
    database: "asyncpg.Connection[asyncpg.Record]"

    def logged(self, name: str, event: str) -> list[dict[str, Any]]:
        """Return what that controller has logged of the kind."""
        return [line for line in self.made.log(name) if line["event"] == event]

    async def until_logged(self, name: str, event: str, **values: Any) -> None:
        """Return once that controller has logged it."""

        async def look() -> bool:
            return any(values.items() <= line.items() for line in self.logged(name, event))

        await eventually(look, what=f"{event} of the {name}")


@pytest.fixture
async def two(tmp_path: Path, postgres_url: str) -> AsyncIterator[Two]:
    """Start both controllers."""
    plain = postgres_url.replace("+asyncpg", "")
    async with programs(tmp_path, scale=SCALE, controllers=2, database=plain) as made:
        await asyncio.gather(made.controller("controller"), made.controller("controller-2"))
        connection = await asyncpg.connect(plain)
        first, second = made.controllers.values()
        async with _client(first) as one, _client(second) as other:
            yield Two(made=made, one=one, two=other, database=connection)
        await connection.close()


@asynccontextmanager
async def _client(address: str) -> AsyncIterator[Farm]:
    channel = open_channel(address, PATIENT)
    try:
        yield Farm(controller=cast("Any", None), channel=channel, timers=PATIENT, scale=SCALE)
    finally:
        await channel.close(None)


@pytest.mark.parametrize("late", ["heartbeat", "records", "start"])
async def test_what_an_agent_said_to_a_frozen_controller_is_not_taken_late(
    two: Two, late: str
) -> None:
    """It waits in the frozen one's socket while the agent goes on elsewhere: nothing twice."""
    accepted = await two.one.enqueue(request())
    async with played_agent(two.one, "A1") as agent:
        await agent.offer()
        (assignment,) = await agent.assigned()
        two.made.freeze("controller")
        if late == "heartbeat":
            await agent.say(heartbeat=agent_pb2.Heartbeat(number=1, runs=[assignment.run]))
        elif late == "records":
            await agent.say(run_records=agent_pb2.RunRecords(records=agent.whole_run(assignment)))
        else:
            run = agent_pb2.RunStarted(run=assignment.run, container="late")
            await agent.say(runs_started=agent_pb2.RunsStarted(runs=[run]))
        held = [agent_pb2.HeldRun(run=assignment.run)]
        async with played_agent(two.two, "A1", held=held, admit=False) as elsewhere:
            await elsewhere.act_out(assignment)
            record = await two.two.until(accepted.process_id, "completed")

            two.made.thaw("controller")
            ended = await agent.ended()
            await two.until_logged("controller", "agent.superseded")

            container = await two.database.fetchval("SELECT container FROM runs")
            rows = await two.database.fetch(
                "SELECT sequence, late FROM action_results ORDER BY sequence"
            )
    assert record.status == "completed"
    assert ended is not None
    assert container != "late"
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    assert not any(row["late"] for row in rows)
    assert await two.two.milestones(accepted.process_id) == ["accepted", "executing", "completed"]


async def test_a_frozen_owner_loses_its_loops_and_knows_it_when_it_comes_back(two: Two) -> None:
    """The other one takes them in a new term; what is due is done without the frozen one."""
    await eventually(lambda: _owner(two, "ticker"), what="an owner")
    owner = await _owner(two, "ticker")
    other = "controller-2" if owner == "controller" else "controller"
    term = two.logged(str(owner), "leadership.won")[-1]["term"]
    farm = two.two if other == "controller-2" else two.one

    two.made.freeze(str(owner))
    await two.until_logged(other, "leadership.won", loop="ticker", term=term + 1)
    deadline = Timestamp()
    deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    accepted = await farm.enqueue(request(deadline=deadline))
    ended = await farm.until(accepted.process_id, "failed_terminal")
    two.made.thaw(str(owner))
    await two.until_logged(str(owner), "leadership.lost", loop="ticker")

    assert ended.error.code == "deadline_passed"
    held = await two.database.fetchval("SELECT term FROM loop_leases WHERE loop = 'ticker'")
    assert held == term + 1


async def test_a_claim_under_way_in_a_frozen_controller_is_not_made_late(two: Two) -> None:
    """Its agent has a session elsewhere by then: one claim is made, there, and one lease."""
    async with played_agent(two.one, "A1") as agent:
        accepted = await two.one.enqueue(request())
        lock = two.database.transaction()
        await lock.start()
        await two.database.fetch("SELECT * FROM capability_requests FOR UPDATE")
        await agent.offer()
        await eventually(lambda: _somebody_waits(two), what="the claim at the lock")
        two.made.freeze("controller")
        async with played_agent(two.two, "A1", admit=False) as elsewhere:
            await lock.rollback()
            await elsewhere.offer()

            two.made.thaw("controller")
            (assignment,) = await elsewhere.assigned()
            await elsewhere.act_out(assignment)
            await two.two.until(accepted.process_id, "completed")

            leases = await two.database.fetch("SELECT agent_id, epoch FROM leases")
    assert len(leases) == 1
    assert two.logged("controller", "item.claimed") == []


async def _owner(two: Two, loop: str) -> str | None:
    """Return which of the two runs the loop, by its own word."""
    for name in two.made.controllers:
        taken = [line for line in two.logged(name, "leadership.won") if line["loop"] == loop]
        lost = [line for line in two.logged(name, "leadership.lost") if line["loop"] == loop]
        if len(taken) > len(lost):
            return name
    return None


async def _somebody_waits(two: Two) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool(await two.database.fetchval(query))
