"""Work that needs no app and no account: it waits, runs and ends like all other work."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.requests import Mode, Routing, Target
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.model.states import ProcessState
from phonefarm_controller.model.windows import WindowScope
from phonefarm_controller.processes.rerun import RerunRequest
from phonefarm_controller.processes.verification import VerificationRequest, VerificationRuns
from phonefarm_controller.store import leases, processes
from sqlalchemy import text
from support.situations import connect
from support.world import World, world_on

ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ON_BARE = Target(routing=Routing.DIRECT, phone_id="ph-bare")
IN_RACK = Target(routing=Routing.QUEUE, phone_group="rack")
PICTURE: dict[str, Any] = {"capability": "take_screenshot", "inputs": {}}
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
CLEAN = PhoneReleased(clean=True, reason="", residue=())


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with an agent, a phone with an account and one without."""
    async with world_on(database_url, policy=RetryPolicy(retry_first=0.0)) as world:
        await world.furnish("a", "p1")
        await world.meet("a", "p1", "bare")
        await world.phone_admin.admit("ph-bare", actor="test")
        yield world


async def claimed(world: World, *serials: str) -> dict[str, Assignment]:
    """Claim for these phones of the agent; return the assignments by phone."""
    found = await world.claim(world.offers("a", *serials))
    return {each.phone_id: each for each in found}


async def end(world: World, assignment: Assignment, ending: RunEnded = DONE) -> None:
    """Begin the run, and let it end at once."""
    await world.begin(assignment)
    await world.tell(assignment, 1, ending, CLEAN)


async def state_of(world: World, process_id: str) -> ProcessState:
    """Return the state of a process."""
    async with world.database.reading() as tx:
        found = await processes.get(tx, process_id)
    assert found is not None
    return found.state


@pytest.mark.parametrize("target", [ON_BARE, Target(routing=Routing.QUEUE), IN_RACK], ids=str)
async def test_a_phone_without_an_account_does_it(world: World, target: Target) -> None:
    """The plan has no profile, the lease holds the phone alone, and the outputs come back."""
    await world.group_admin.put("phone", "rack", ["ph-bare"], actor="test")
    process_id = await world.accept(**PICTURE, target=target)

    (assignment,) = (await claimed(world, "bare")).values()
    plan = json.loads(assignment.plan)
    await world.begin(assignment)
    async with world.database.reading() as tx:
        (lease,) = await leases.held(tx)
    done = ActionDone(index=0, kind="screenshot", outputs='{"evidence": "screen.png"}', seconds=1.0)
    started = ActionStarted(index=0, kind="screenshot")
    await world.tell(assignment, 1, started, done, DONE, CLEAN)
    async with world.database.reading() as tx:
        (item,) = await tx.connection.execute(text("SELECT outputs, account_id FROM queue_items"))

    assert plan["profile"] is None
    assert plan["account"] == {"account_id": "", "app": ""}
    assert [action["kind"] for action in plan["actions"]] == ["screenshot"]
    assert (lease.phone_held, lease.account_held, lease.account_id) == (True, False, "")
    assert json.loads(item.outputs) == {"screenshot": "screen.png"}
    assert await state_of(world, process_id) is ProcessState.DONE


async def test_it_takes_its_turn_with_the_work_of_accounts(world: World) -> None:
    """Priority first, then age, whether bound to the phone or not."""
    await world.accept(**PICTURE, target=ON_P1, priority=4)
    second = await world.accept(target=ON_P1, priority=5)
    third = await world.accept(**PICTURE, target=Target(routing=Routing.QUEUE), priority=5)
    first = await world.accept(**PICTURE, target=ON_P1, priority=6)

    order = []
    for _ in range(3):
        (assignment,) = (await claimed(world, "p1")).values()
        order.append(assignment.process_id)
        await end(world, assignment)

    assert order == [first, second, third]


async def test_many_phones_do_it_at_once_beside_the_work_of_an_account(world: World) -> None:
    """No account is what they have in common, and it makes none of them wait."""
    await world.meet("a", "p1", "bare", "more")
    await world.phone_admin.admit("ph-more", actor="test")
    work = await world.accept(target=ON_P1)
    everywhere = Target(routing=Routing.GROUP, phone_ids=("ph-bare", "ph-more"))
    pictures = await world.accept(**PICTURE, target=everywhere)

    got = await claimed(world, "p1", "bare", "more")

    assert {phone: each.process_id for phone, each in got.items()} == {
        "ph-p1": work,
        "ph-bare": pictures,
        "ph-more": pictures,
    }


async def test_an_agent_that_cannot_do_it_gets_none(world: World) -> None:
    """Not even what was matched with it before it came back as an older one; others' work goes."""
    picture = await world.accept(**PICTURE, target=ON_P1, priority=9)
    work = await world.accept(target=ON_P1)
    offers = world.offers("a", "p1")
    async with world.database.reading() as tx:
        seen = await world.claim.match(tx, offers)
    await world.meet("a", "p1", "bare", runs_without_app=False)
    async with world.database.writing() as tx:
        took = await world.claim._take(tx, seen.pairs, world.offers("a", "p1"), limited=False)

    (assignment,) = (await claimed(world, "p1")).values()

    assert [pair.process_id for pair in seen.pairs] == [picture]
    assert took == []
    assert assignment.process_id == work


async def test_what_waits_for_it_is_told(world: World) -> None:
    """An open item may use every phone; behind the others of the phone it says so."""
    connect(world, "a")
    session = world.sessions.of("a")
    assert session is not None
    world.sessions.offer(session, 1, ["ph-p1", "ph-bare"])
    anywhere = await world.accept(**PICTURE, target=Target(routing=Routing.QUEUE))
    bound = [await world.accept(**PICTURE, target=ON_BARE, priority=8) for _ in range(2)]

    told = await world.explain(anywhere)
    second = await world.explain(bound[1])

    assert told.summary == "about to be claimed"
    (item,) = second.items
    assert item.items_ahead == 1
    assert [str(each.reason) for each in second.reasons] == ["behind_others"]


async def test_a_farm_without_phones_says_so(database_url: str) -> None:
    """The remedy names no account."""
    async with world_on(database_url) as world:
        told = await world.explain(await world.accept(**PICTURE))

    assert [str(each.reason) for each in told.reasons] == ["no_phone_with_app"]
    assert told.reasons[0].remedy.startswith("connect a phone")


@pytest.mark.parametrize(
    ("scope", "name", "waits"),
    [
        (PauseScope.ALL, "", True),
        (PauseScope.CAPABILITY, "take_screenshot", True),
        (PauseScope.CAPABILITY, "open_url", False),
        (PauseScope.APP, "shortvideo", False),
        (PauseScope.ACCOUNT, "acc-p1", False),
    ],
)
@pytest.mark.parametrize("target", [ON_P1, Target(routing=Routing.QUEUE)], ids=["bound", "open"])
async def test_pauses_hold_it_back_by_what_it_is(
    world: World, scope: PauseScope, name: str, waits: bool, target: Target
) -> None:
    """Not by the apps and accounts of its phone."""
    await world.accept(**PICTURE, target=target)
    await world.pauses.pause(scope, name, actor="test", reason="test")

    got = await claimed(world, "p1")

    assert (not got) == waits


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (WindowScope.PHONE, "ph-p1"),
        (WindowScope.GROUP, "rack"),
        (WindowScope.CAPABILITY, "take_screenshot"),
    ],
)
@pytest.mark.parametrize("target", [ON_P1, Target(routing=Routing.QUEUE)], ids=["bound", "open"])
async def test_it_keeps_to_the_windows_of_its_phone_and_of_what_it_is(
    world: World, scope: WindowScope, name: str, target: Target
) -> None:
    """Not to those of the accounts there; what could not end before the window does waits."""
    world.database._now = world.clock.now
    await world.group_admin.put("phone", "rack", ["ph-p1"], actor="test")
    for each in ((scope, name), (WindowScope.ACCOUNT, "acc-p1")):
        hours = "daily 01:00-02:00" if each == (scope, name) else "daily 12:00-13:00"
        await world.windows.put(
            *each, zone="UTC", spans=[hours], may_overrun=False, actor="ada", reason="test"
        )
    process_id = await world.accept(**PICTURE, target=target)

    closed = await claimed(world, "p1")
    world.clock.advance(2 * 3600 - 60)
    too_late = await claimed(world, "p1")
    world.clock.advance(24 * 3600 - 1800)
    opened = await claimed(world, "p1")

    assert (closed, too_late) == ({}, {})
    assert [each.process_id for each in opened.values()] == [process_id]


async def test_it_runs_unattended_without_a_verification(world: World) -> None:
    """There is no profile that could have changed; proving it is refused."""
    await world.accept(**PICTURE, target=ON_P1, mode=Mode.UNATTENDED)
    runs = VerificationRuns(
        database=world.database,
        profiles=world.profiles,
        policy=world.policy,
        wakeups=world.wakeups,
        disk_alarm=world.disk_alarm,
        dummy_allowed=True,
    )
    asked = VerificationRequest(phone_id="ph-p1", account_id=None, requested_by="ada")

    with pytest.raises(FarmError, match="needs no verification"):
        await runs.verify("take_screenshot", asked, None)

    assert "ph-p1" in await claimed(world, "p1")


async def test_a_failure_is_tried_again_on_another_phone_and_rerun(world: World) -> None:
    """As other work: infra is tried again, and a rerun keeps the target."""
    process_id = await world.accept(**PICTURE, target=Target(routing=Routing.QUEUE))
    (first,) = (await claimed(world, "p1", "bare")).values()
    lost = Failure(code="adb_failed", message="m", failure_class=FailureClass.INFRA, final=False)
    await end(world, first, RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=1))
    await world.due_items.requeue()
    (second,) = (await claimed(world, "p1", "bare")).values()
    await end(world, second)

    again = await world.rerun(
        RerunRequest(
            process_id=process_id, failed_only=False, not_posted=False, reason="r", caller="ada"
        )
    )
    (third,) = (await claimed(world, "p1", "bare")).values()

    assert second.phone_id != first.phone_id
    assert third.process_id == again.process_id
    assert json.loads(third.plan)["profile"] is None


async def test_a_database_of_the_release_before_gets_what_it_needs(
    tmp_path: Path,
) -> None:
    """The profile that stands for none is kept once, however often a controller starts."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    for migrated in (False, True):
        async with world_on(url, migrated=migrated) as world, world.database.reading() as tx:
            query = text("SELECT name, content FROM app_profiles WHERE version = 'none'")
            assert list(await tx.connection.execute(query)) == [("", "")]
