"""Why not yet: each situation in which work waits, told by its reason and with its remedy."""

import asyncio
import random
import re
import shlex
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from phonefarm.v1 import inspect_pb2, process_pb2
from phonefarm_cli.main import read_arguments
from phonefarm_common.channel import bearer
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.blockers import BlockerKind
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import RunEnded
from phonefarm_controller.model.states import Condition, Health, Intent
from phonefarm_controller.store import accounts
from support.controller import KEY, PATIENCE, Farm, played_agent, request
from support.controller import told as told_by
from support.once import ONE_ENGINE
from support.seeds import seeds
from support.situations import (
    ANYWHERE,
    FAR,
    IN_RACK,
    SITUATIONS,
    bound,
    change_phone,
    claim_offered,
    connect,
    offer,
    put_group,
)
from support.world import World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent, connected, that offers two phones with their accounts."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        connect(world, "a")
        offer(world, "p1", "p2")
        yield world


@ONE_ENGINE
@pytest.mark.parametrize("name", SITUATIONS)
async def test_each_situation_is_told_by_its_reason(world: World, name: str) -> None:
    """The reasons of the process, of its item and of the phones, the remedy, and what is ahead."""
    expected = await SITUATIONS[name](world)

    told = await world.explain(expected.process_id)

    (item,) = told.items
    assert {str(each.reason): each.count for each in item.reasons} == expected.reasons
    assert {str(each.reason): each.count for each in told.reasons} == dict.fromkeys(
        expected.reasons, 1
    )
    assert tuple((p.phone_id, str(p.reason), p.detail) for p in item.phones) == expected.phones
    assert item.items_ahead == expected.ahead
    remedies = " ".join(each.remedy for each in told.reasons)
    assert [words for words in expected.remedies if words not in remedies] == []
    assert all(str(each.reason) in told.summary for each in told.reasons)
    assert expected.process_id not in await claim_offered(world)
    spoken = re.findall(r"`phonefarm ([^`]*)`", remedies)
    assert all(read_arguments(shlex.split(command)) for command in spoken)


def test_every_reason_is_shown() -> None:
    """The table has a situation for each word of the vocabulary."""
    known = {str(each) for each in BlockerKind} - {"phone_retired"}

    assert known <= SITUATIONS.keys()


async def test_a_suspect_phone_works_on(world: World) -> None:
    """It is watched, not withheld."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", health=Health.SUSPECT, health_reason="slow")

    assert (await world.explain(process_id)).summary == "about to be claimed"
    assert await claim_offered(world) == [process_id]


async def test_what_the_next_claim_takes_has_nothing_that_hinders(world: World) -> None:
    """Explaining claims nothing; the claim then does what was told."""
    process_id = await bound(world)

    told = await world.explain(process_id)
    again = await world.explain(process_id)

    (item,) = told.items
    assert told == again
    assert (told.status, told.summary, told.reasons) == ("queued", "about to be claimed", ())
    assert (item.status, item.ready_at, item.reasons, item.phones) == ("QUEUED", None, (), ())
    assert await claim_offered(world) == [process_id]


async def test_explaining_follows_a_process_to_its_end(world: World) -> None:
    """It runs; it failed and is tried again; it ended, and why."""
    process_id = await bound(world)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    claimed = await world.explain(process_id)
    await world.begin(assignment)
    executing = await world.explain(process_id)
    bad = Failure(
        code="selector_not_found", message="no box", failure_class=FailureClass.WORK, final=True
    )
    ended = RunEnded(outcome=RunOutcome.FAILED, failure=bad, exit_code=1)
    await world.tell(assignment, 1, ended)
    over = await world.explain(process_id)

    assert claimed.summary == "it runs: 1 item (on a phone: 1, ended: 0); nothing waits"
    assert (executing.status, executing.items) == ("executing", ())
    assert (over.status, over.reasons, over.items) == ("failed_terminal", (), ())
    assert re.fullmatch(
        r"it ended failed_terminal at \d{4}-.*Z: selector_not_found: no box", over.summary
    )
    with pytest.raises(FarmError, match="there is no process nobody"):
        await world.explain("nobody")


async def test_a_group_is_summed_up(world: World) -> None:
    """One of it runs, one is about to, one waits: each is counted where it is."""
    await world.furnish("b", "p3")
    group = Target(routing=Routing.GROUP, phone_ids=("ph-p1", "ph-p2", "ph-p3"))
    process_id = await world.accept(target=group)
    assert len(await world.claim(world.offers("a", "p1"))) == 1

    told = await world.explain(process_id)

    assert told.summary == (
        "2 items wait: agent_disconnected (1); 1 about to be claimed; "
        "in total 3 items (on a phone: 1, ended: 0)"
    )
    assert [len(item.reasons) for item in told.items] == [0, 1]


@pytest.mark.parametrize("seed", seeds(6, quick=2))
async def test_what_is_explained_is_what_is_claimed(world: World, seed: int) -> None:
    """Whatever the farm looks like: nothing hinders exactly what the next claim takes."""
    chance = random.Random(seed)
    asked = await _disordered(world, chance)

    taken = []
    for _ in range(3):
        told = [await world.explain(process_id) for process_id in asked]
        free = {each.process_id for each in told if each.items and not each.reasons}
        claimed = await claim_offered(world)

        assert set(claimed) == free
        taken += claimed
        offer(world, *chance.sample([f"p{n}" for n in range(1, 9)], 5))
    assert taken


async def _disordered(world: World, chance: random.Random) -> list[str]:
    """Make eight phones and twenty processes, then change what may be changed."""
    serials = [f"p{number}" for number in range(1, 9)]
    await world.furnish("a", *serials)
    connect(world, "a")
    await put_group(world, *(f"ph-{serial}" for serial in chance.sample(serials, 4)))
    asked = []
    for _ in range(20):
        direct = Target(routing=Routing.DIRECT, phone_id=f"ph-{chance.choice(serials)}")
        target = chance.choice([direct, direct, ANYWHERE, IN_RACK])
        later = FAR if chance.random() < 0.1 else None
        priority = chance.randrange(10)
        asked.append(await world.accept(target=target, priority=priority, not_before=later))
    for serial in chance.sample(serials, 5):
        phone_id, account_id = f"ph-{serial}", f"acc-{serial}"
        match chance.randrange(6):
            case 0:
                await change_phone(world, phone_id, health=chance.choice(list(Health)))
            case 1:
                await change_phone(world, phone_id, intent=chance.choice(list(Intent)))
            case 2:
                await world.put_account(account_id, phone_id=f"ph-{chance.choice(serials)}")
            case 3:
                how = chance.choice(list(Condition))
                await world.put_account(f"{account_id}b", phone_id=phone_id, condition=how)
            case 4:
                ill = Condition.NEEDS_ATTENTION
                await world.put_account(account_id, phone_id=phone_id, condition=ill)
            case _:
                await put_group(world, *(f"ph-{each}" for each in chance.sample(serials, 2)))
    offer(world, *chance.sample(serials, 6))
    return asked


async def test_a_group_of_a_thousand_is_explained_well_within_a_second(world: World) -> None:
    """Also while as many items go before it on the same phones, and open ones besides."""
    serials = [f"q{number}" for number in range(1000)]
    await world.meet("big", *serials)
    async with world.database.writing() as tx:
        given = [
            accounts.Account(
                account_id=f"acc-{each}", phone_id=f"ph-{each}", app="shortvideo", active=True
            )
            for each in serials
        ]
        await accounts.put(tx, given)
    everywhere = Target(routing=Routing.GROUP, phone_ids=tuple(f"ph-{each}" for each in serials))
    for _ in range(3):
        await world.accept(target=everywhere, priority=6)
    for _ in range(5):
        await world.accept(priority=8)
    process_id = await world.accept(target=everywhere)

    begin = time.process_time()  # what else the machine does costs nothing here
    told = await world.explain(process_id)
    seconds = time.process_time() - begin

    counts = {str(each.reason): each.count for each in told.reasons}
    assert counts == {"phone_not_admitted": 1000, "agent_disconnected": 1000}
    assert [item.items_ahead for item in told.items] == [8] * 100
    assert seconds < 1


async def explain(farm: Farm, process_id: str, *words: str) -> inspect_pb2.Explanation:
    """Return the explanation once its reasons are *words*; TimeoutError after PATIENCE."""
    asked = inspect_pb2.ExplainProcessRequest(process_id=process_id)
    async with asyncio.timeout(PATIENCE):
        while True:
            answer: inspect_pb2.Explanation = await farm.inspect.ExplainProcess(
                asked, metadata=bearer(KEY)
            )
            if [each.reason for each in answer.reasons] == list(words):
                return answer
            await asyncio.sleep(0.01)


async def test_a_caller_is_told_as_the_farm_changes(farm: Farm) -> None:
    """Over the wire: not offered, busy, and at last without its agent."""
    target = process_pb2.Target(routing=process_pb2.ROUTING_DIRECT, phone_id="ph-a1")
    async with played_agent(farm, "A1") as agent:
        accepted = await farm.enqueue(request(target=target))
        idle = await explain(farm, accepted.process_id, "not_offered")
        first = await farm.enqueue(request(target=target, priority=9))
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        busy = await explain(farm, accepted.process_id, "phone_busy")
    gone = await explain(farm, accepted.process_id, "phone_busy", "agent_disconnected")

    (item,) = idle.items
    assert (idle.process_id, idle.status) == (accepted.process_id, "queued")
    assert (item.status, item.items_ahead, item.HasField("ready_at")) == ("QUEUED", 0, False)
    assert item.HasField("deadline_at")
    assert assignment.process_id == first.process_id
    assert busy.items[0].phones[0].detail == f"process {first.process_id}"
    assert first.process_id in busy.reasons[0].remedy
    assert [each.count for each in gone.reasons] == [1, 1]
    assert "agent-1" in gone.reasons[1].remedy


@ONE_ENGINE
@pytest.mark.parametrize("process_id", ["nobody", "00000000-0000-4000-8000-000000000000"])
async def test_nobody_is_told_of_an_unknown_process(farm: Farm, process_id: str) -> None:
    """NOT_FOUND, whether it could be an id or not."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await explain(farm, process_id)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert told_by(refused)[0] == "unknown_process"
