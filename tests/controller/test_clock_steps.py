"""The database's clock is set forward or back under a run: who is heard keeps its lease.

It decides deadlines and back-offs. How long a lease is silent, and how long it is kept, is counted.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2
from phonefarm_common.timers import Timers
from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.scheduler.claim import Claim, Matches
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.work import runs
from sqlalchemy import select
from support.controller import PlayedAgent, farm_on, played_agent, request
from support.stepped import SteppedClock
from support.world import world_on

SCALE = 0.02
TTL = Timers().scaled(SCALE).lease_ttl
STEPS = [pytest.param(300, id="forward"), pytest.param(-300, id="back")]
"""In minutes: for longer than any run may take."""


async def _beat_for(agent: PlayedAgent, seconds: float, run: agent_pb2.RunRef) -> None:
    """Renew for so long, as a live agent does; each acknowledgement says that the lease lives."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ack = await agent.beat(run)
        assert not ack.lost
        await asyncio.sleep(agent.farm.timers.heartbeat)


@pytest.mark.parametrize("minutes", STEPS)
async def test_a_step_ends_no_lease_that_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """The run goes on over more than a TTL, and its end counts as that of the first attempt."""
    clock = SteppedClock(monkeypatch)
    async with (
        farm_on(
            f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", scale=SCALE, lapse=SCALE
        ) as farm,
        played_agent(farm, "A1") as agent,
    ):
        await agent.offer()
        accepted = await farm.enqueue(request())
        (work,) = await agent.assigned()
        await agent.start(work.run)
        clock.step(minutes=minutes)
        await _beat_for(agent, 1.2 * TTL, work.run)
        await agent.report(*agent.whole_run(work))
        await farm.until(accepted.process_id, "completed")
        async with farm.controller.database.reading() as tx:
            attempts = (await tx.connection.execute(select(runs.c.attempt))).scalars().all()

    assert attempts == [1]


@pytest.mark.parametrize("minutes", STEPS)
async def test_a_step_keeps_no_lease_of_an_agent_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """The reaper counts by itself how long nothing was heard."""
    clock = SteppedClock(monkeypatch)
    async with (
        farm_on(
            f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", scale=SCALE, lapse=SCALE
        ) as farm,
        played_agent(farm, "A1") as agent,
    ):
        await agent.offer()
        accepted = await farm.enqueue(request())
        (work,) = await agent.assigned()
        await agent.start(work.run)
        clock.step(minutes=minutes)
        record = await farm.until(accepted.process_id, "retrying")

    assert record.status == "retrying"


async def test_work_is_not_claimed_before_its_time_by_a_clock_that_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was due when it was matched is looked at again by the transaction that takes it."""
    match = Claim.match
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("north", "a")
        await world.accept()

        async def looked(self: Claim, tx: Transaction, offers: Sequence[OfferedPhone]) -> Matches:
            seen = await match(self, tx, offers)
            world.clock.advance(-60)
            return seen

        with monkeypatch.context() as patched:
            patched.setattr(Claim, "match", looked)
            early = await world.claim(world.offers("north", "a"))
        world.clock.advance(60)
        due = await world.claim(world.offers("north", "a"))

    assert early == []
    assert len(due) == 1
