"""Drains: nothing begins on the phone or the host, what runs goes on, restarts change nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from phonefarm_common.reasons import FarmError
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.store import items, leases
from sqlalchemy import text
from support.world import World, world_on

ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)

Empty = Callable[[World], Awaitable[None]]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and one phone with its account."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        yield world


async def phone(world: World) -> None:
    """Drain the phone."""
    await world.drain.phone("ph-p1", actor="ada", reason="a new cable")


async def agent(world: World) -> None:
    """Drain its host."""
    await world.drain.agent("a", actor="ada", reason="a new kernel")


async def elsewhere(world: World) -> None:
    """Drain its host by another controller, whose hint has not come yet."""
    drain = Drain(database=world.database, sessions=world.sessions, wakeups=WakeUps())
    await drain.agent("a", actor="ada", reason="a new kernel")


@pytest.mark.parametrize("empty", [phone, agent, elsewhere], ids=lambda each: each.__name__)
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_nothing_is_claimed_for_it(world: World, empty: Empty, target: Target) -> None:
    """Also by a controller that still remembers the farm as it was."""
    assert await world.claim(world.offers("a", "p1")) == []
    await world.accept(target=target)
    await empty(world)

    assert await world.claim(world.offers("a", "p1")) == []


@pytest.mark.parametrize("empty", [phone, agent], ids=lambda each: each.__name__)
async def test_a_run_that_is_prepared_is_taken_back_at_the_gate(world: World, empty: Empty) -> None:
    """It performs nothing, its item waits uncharged, and its phone is cleaned."""
    await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await empty(world)

    answer = await world.begin(assignment)

    async with world.database.reading() as tx:
        item = (await items.get(tx, [assignment.run.item_id]))[assignment.run.item_id]
        lease = (await leases.get(tx, [assignment.run.lease_id]))[assignment.run.lease_id]
    assert answer.stop == "draining"
    assert (item.state, item.work_failures, item.infra_failures) == ("QUEUED", 0, 0)
    assert lease.state is LeaseState.RELEASING


@pytest.mark.parametrize("empty", [phone, agent], ids=lambda each: each.__name__)
async def test_what_runs_goes_on(world: World, empty: Empty) -> None:
    """A gate that answered `go` answers it again."""
    await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    before = await world.begin(assignment)
    await empty(world)

    after = await world.begin(assignment)

    assert (before.stop, after.stop) == (None, None)


async def test_a_drained_host_stays_so_until_it_is_undrained(world: World) -> None:
    """A new life of its agent changes nothing; its phones are shown as not offered."""
    process_id = await world.accept(target=ON_P1)
    await agent(world)
    await world.meet("a", "p1")
    held = await world.claim(world.offers("a", "p1"))
    ((known, _),) = await world.phone_admin.agents()
    (view,) = await world.phone_admin.all()

    undrained = await world.drain.undrain("a", actor="ada", reason="it has booted")
    again = await world.drain.undrain("a", actor="ada", reason="it has booted")
    let_go = await world.claim(world.offers("a", "p1"))

    assert held == []
    assert known.drain == view.agent_drain == "by ada: a new kernel"
    assert (undrained, again) == (True, False)
    assert [one.process_id for one in let_go] == [process_id]
    async with world.database.reading() as tx:
        query = text("SELECT actor, verb, subject, reason FROM audit WHERE subject = 'a'")
        rows = [tuple(row) for row in await tx.connection.execute(query)]
    assert sorted(rows) == [
        ("ada", "drain agent", "a", "a new kernel"),
        ("ada", "undrain agent", "a", "it has booted"),
    ]


async def test_a_drained_phone_works_again_when_it_is_admitted(world: World) -> None:
    """Its drain is its intent."""
    process_id = await world.accept(target=ON_P1)
    await phone(world)

    await world.phone_admin.admit("ph-p1", actor="ada")

    assert [one.process_id for one in await world.claim(world.offers("a", "p1"))] == [process_id]


async def test_a_drain_of_nothing_is_refused(world: World) -> None:
    """A phone or agent nobody knows, one that gets no work anyway, a missing reason."""
    await world.phone_admin.maintain("ph-p1", actor="ada", reason="a new battery")
    asked = {
        "unknown_phone:ph-x": world.drain.phone("ph-x", actor="ada", reason="r"),
        "state_conflict:maintenance": world.drain.phone("ph-p1", actor="ada", reason="r"),
        "unknown_member:b": world.drain.agent("b", actor="ada", reason="r"),
        "invalid_request": world.drain.agent("a", actor="ada", reason=" "),
    }

    for told, call in asked.items():
        with pytest.raises(FarmError) as refused:
            await call
        assert refused.value.text == told
