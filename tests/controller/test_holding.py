"""Holds in the queue: before all work, for no account, tried once, and never beside a run."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import HOLD
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.model.states import Health
from phonefarm_controller.store import leases
from sqlalchemy import text
from support.situations import change_phone, connect, offer
from support.world import World, world_on

ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
CLEAN = PhoneReleased(clean=True, reason="", residue=())
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
LOST = Failure(code="run_crashed", message="", failure_class=FailureClass.INFRA)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and one phone with its account."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        yield world


async def hold(world: World, **changes: Any) -> str:
    """Have ada hold the phone; return the process."""
    values: dict[str, Any] = {"seconds": 600, "wait": 600, "actor": "ada", "reason": "odd"}
    process_id: str = await world.hold.hold("ph-p1", **(values | changes))
    return process_id


async def claim(world: World) -> list[str]:
    """Claim for the phone; return the processes."""
    return [each.process_id for each in await world.claim(world.offers("a", "p1"))]


async def test_it_waits_for_the_run_and_goes_before_all_work(world: World) -> None:
    """Its lease keeps the phone and no account; work goes on behind it."""
    running = await world.accept(target=ON_P1)
    (run,) = await world.claim(world.offers("a", "p1"))
    await world.begin(run)
    urgent = await world.accept(target=ON_P1, priority=9)
    held = await hold(world)

    beside = await claim(world)
    await world.tell(run, 1, DONE, CLEAN)
    (mine,) = await world.claim(world.offers("a", "p1"))
    await world.begin(mine)
    view = await world.hold.get(held)
    async with world.database.reading() as tx:
        lease = (await leases.of_phones(tx, ["ph-p1"]))["ph-p1"]
    await world.tell(mine, 1, DONE, CLEAN)
    behind = await claim(world)

    assert (run.process_id, beside) == (running, [])
    assert (mine.process_id, mine.account_id, mine.capability) == (held, "", HOLD)
    assert (lease.account_id, lease.account_held) == ("", False)
    assert (view.state, view.address) == ("EXECUTING", "box")
    assert view.until is not None
    assert (view.until - lease.granted_at).total_seconds() == pytest.approx(600, abs=5)
    assert behind == [urgent]


@pytest.mark.parametrize("state", ["quarantined", "draining", "paused", "maintenance"])
async def test_a_phone_that_gets_no_work_can_be_held(world: World, state: str) -> None:
    """Explained or claimed, nothing hinders; what stands beside it in the queue stays there."""
    await world.accept(target=ON_P1)
    if state == "quarantined":
        await change_phone(world, "ph-p1", health=Health.QUARANTINED, health_reason="odd")
    elif state == "draining":
        await world.drain.phone("ph-p1", actor="ada", reason="a look")
    elif state == "paused":
        await world.pauses.pause(PauseScope.ALL, "", actor="ada", reason="a look")
    else:
        await world.phone_admin.maintain("ph-p1", actor="ada", reason="a look")
    held = await hold(world)
    connect(world, "a")
    offer(world, "p1")

    told = await world.explain(held)
    (run,) = await world.claim(world.offers("a", "p1"))
    answer = await world.begin(run)
    await world.tell(run, 1, DONE, CLEAN)

    assert told.summary == "about to be claimed"
    assert (run.process_id, answer.stop) == (held, None)
    assert await claim(world) == []


async def test_a_hold_whose_agent_lost_it_is_not_tried_again(world: World) -> None:
    """Who held the phone has gone on; nobody waits for another one."""
    held = await hold(world)
    (run,) = await world.claim(world.offers("a", "p1"))
    await world.begin(run)

    await world.tell(run, 1, RunEnded(outcome=RunOutcome.FAILED, failure=LOST, exit_code=1), CLEAN)

    view = await world.hold.get(held)
    assert (view.state, view.why) == ("DEAD_LETTER", "run_crashed: ")


async def test_a_hold_that_waits_is_ended_by_unhold(world: World) -> None:
    """Both words stand in the audit."""
    held = await hold(world)

    view = await world.hold.unhold("ph-p1", actor="bob", reason="not needed")

    assert (view.process_id, view.state) == (held, "CANCELLED")
    async with world.database.reading() as tx:
        query = text("SELECT actor, verb, subject, reason FROM audit WHERE verb LIKE '%hold'")
        rows = {tuple(row) for row in await tx.connection.execute(query)}
    assert rows == {
        ("ada", "hold", "ph-p1", "600 s: odd"),
        ("bob", "unhold", "ph-p1", "not needed"),
    }


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("held", "state_conflict:held"),
        ("retired", "inactive_phone:ph-p1"),
        ("old agent", "agent_too_old"),
        ("too long", "invalid_request"),
        ("no reason", "invalid_request"),
    ],
)
async def test_what_cannot_be_held_is_refused(world: World, case: str, told: str) -> None:
    """An agent of 0.1.0 would start a container for it."""
    changes: dict[str, Any] = {}
    if case == "held":
        await hold(world)
    elif case == "retired":
        await world.phone_admin.retire("ph-p1", actor="ada", reason="broken")
    elif case == "old agent":
        await world.meet("a", "p1", runtime="")
    elif case == "too long":
        changes["seconds"] = 4 * 3600
    else:
        changes["reason"] = " "

    with pytest.raises(FarmError) as refused:
        await hold(world, **changes)

    assert refused.value.text == told


async def test_a_draining_host_is_left_alone(world: World) -> None:
    """It shall become empty, also of people."""
    await world.drain.agent("a", actor="ada", reason="a new kernel")
    await hold(world)

    assert await claim(world) == []
