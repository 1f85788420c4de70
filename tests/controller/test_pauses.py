"""Pauses: nothing in their scope begins, everything else does, and what waited goes on."""

from collections.abc import AsyncIterator

import pytest
from phonefarm_common.reasons import FarmError
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.store import items, leases
from support.once import ONE_ENGINE
from support.world import World, world_on

ALL = (PauseScope.ALL, "")
CAPABILITY = (PauseScope.CAPABILITY, "keyword_warmup")
APP = (PauseScope.APP, "shortvideo")
ACCOUNT = (PauseScope.ACCOUNT, "acc-p1")
SCOPES = (ALL, CAPABILITY, APP, ACCOUNT)
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and one phone with its account."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        yield world


async def pause(world: World, scope: tuple[PauseScope, str]) -> None:
    """Pause it."""
    await world.pauses.pause(*scope, actor="ada", reason="for a test")


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_what_is_paused_is_not_claimed_until_it_is_resumed(
    world: World, scope: tuple[PauseScope, str], target: Target
) -> None:
    """Each scope holds back work on a phone and work for any phone."""
    process_id = await world.accept(target=target)
    await pause(world, scope)

    held = await world.claim(world.offers("a", "p1"))
    resumed = await world.pauses.resume(*scope, actor="ada")
    again = await world.pauses.resume(*scope, actor="ada")
    let_go = await world.claim(world.offers("a", "p1"))

    assert held == []
    assert (resumed, again) == (True, False)
    assert [one.process_id for one in let_go] == [process_id]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_a_run_that_is_prepared_is_taken_back_at_the_gate(
    world: World, scope: tuple[PauseScope, str]
) -> None:
    """It performs nothing, its item waits uncharged, and its phone is cleaned."""
    await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await pause(world, scope)

    answer = await world.begin(assignment)

    async with world.database.reading() as tx:
        item = (await items.get(tx, [assignment.run.item_id]))[assignment.run.item_id]
        lease = (await leases.get(tx, [assignment.run.lease_id]))[assignment.run.lease_id]
    assert answer.stop == "paused"
    assert (item.state, item.work_failures, item.infra_failures) == ("QUEUED", 0, 0)
    assert not item.executed
    assert lease.state is LeaseState.RELEASING


async def test_what_runs_goes_on(world: World) -> None:
    """A gate that answered `go` answers it again, though everything is paused since."""
    await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    before = await world.begin(assignment)
    await pause(world, ALL)

    after = await world.begin(assignment)

    assert (before.stop, after.stop) == (None, None)


@pytest.mark.parametrize("scope", [CAPABILITY, ACCOUNT], ids=lambda scope: str(scope[0]))
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_what_is_paused_holds_back_nothing_else(
    world: World, scope: tuple[PauseScope, str], target: Target
) -> None:
    """Older work of higher priority that is paused is passed over for what is not."""
    if scope == ACCOUNT:
        await world.put_account("acc-two", phone_id="ph-p1")
        target = Target(routing=Routing.DIRECT, phone_id="ph-p1", account_id="acc-p1")
        two = Target(routing=Routing.DIRECT, phone_id="ph-p1", account_id="acc-two")
        await world.accept(target=target, priority=9)
        wanted = await world.accept(target=two)
    else:
        await world.accept(target=target, priority=9)
        wanted = await world.accept(
            capability="fyp_warmup",
            target=target,
            inputs={"judge_prompt": "cats", "app": "shortvideo"},
        )
    await pause(world, scope)

    claimed = await world.claim(world.offers("a", "p1"))

    assert [one.process_id for one in claimed] == [wanted]


@ONE_ENGINE
@pytest.mark.parametrize(
    ("scope", "name", "reason", "field"),
    [
        (PauseScope.APP, "nope", "r", "name"),
        (PauseScope.CAPABILITY, "nope", "r", "name"),
        (PauseScope.ACCOUNT, "nope", "r", "name"),
        (PauseScope.ALL, "shortvideo", "r", "name"),
        (PauseScope.ALL, "", "  ", "reason"),
        (PauseScope.ALL, "", "x" * 501, "reason"),
    ],
)
async def test_a_pause_of_nothing_or_without_a_reason_is_refused(
    world: World, scope: PauseScope, name: str, reason: str, field: str
) -> None:
    """A mistyped name would pause nothing and say nothing."""
    with pytest.raises(FarmError) as refused:
        await world.pauses.pause(scope, name, actor="ada", reason=reason)

    assert [problem.field for problem in refused.value.problems] == [field]
    assert await world.pauses.all() == []
