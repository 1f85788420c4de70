"""An operator takes a phone from its run: by compare-and-set, and never for two drivers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from phonefarm_common.reasons import FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.fleet.phones import PhoneView
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.model.states import Health, LeaseState
from phonefarm_controller.runs.lease_reaper import LeaseReaper
from phonefarm_controller.scheduler.claim import CAP_GRACE_SECONDS
from phonefarm_controller.store import items, leases
from sqlalchemy import text
from support.world import POST, World, posting_allowed, world_on

POSTING = ActionStarted(index=1, kind="post")
POSTED = ActionDone(index=1, kind="post", outputs="{}", seconds=1.0)
STOPPED = RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3)
FINISHED = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
CLEAN = PhoneReleased(clean=True, reason="", residue=())
UNCLEAN = PhoneReleased(clean=False, reason="clean_up_failed: no answer", residue=())


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and one phone with its account; posts are a capability."""
    with posting_allowed():
        async with world_on(database_url) as world:
            await world.furnish("a", "p1")
            yield world


async def going(world: World, capability: str = "keyword_warmup") -> Assignment:
    """Return a run that has passed the start gate."""
    await world.accept(capability=capability)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    assert (await world.begin(assignment)).stop is None
    return assignment


async def release(world: World, epoch: int = 1, reason: str = "it hangs") -> PhoneView:
    """Take the phone from the run of this epoch."""
    view: PhoneView = await world.release("ph-p1", epoch=epoch, actor="ada", reason=reason)
    return view


async def item_of(world: World, run: Assignment) -> Item:
    """Return the run's item as it is."""
    async with world.database.reading() as tx:
        return (await items.get(tx, [run.run.item_id]))[run.run.item_id]


async def lease_of(world: World, run: Assignment) -> Lease:
    """Return the run's lease as it is."""
    async with world.database.reading() as tx:
        return (await leases.get(tx, [run.run.lease_id]))[run.run.lease_id]


async def audited(world: World, verb: str) -> list[Any]:
    """Return who did it to whom, and why."""
    async with world.database.reading() as tx:
        query = text("SELECT actor, subject, reason FROM audit WHERE verb = :verb")
        return [tuple(row) for row in await tx.connection.execute(query, {"verb": verb})]


def reaper_of(world: World) -> LeaseReaper:
    """Return a reaper on the world's clock."""
    return LeaseReaper(
        database=world.database, expiry=world.lease_expiry, timers=world.timers, clock=world.clock
    )


async def test_its_item_goes_on_and_the_phone_waits_for_its_agent(world: World) -> None:
    """Charged to infra, not to work; phone and account are kept; the agent hears stop, at once."""
    run = await going(world)

    view = await release(world)

    item, lease = await item_of(world, run), await lease_of(world, run)
    assert (item.state, item.work_failures, item.infra_failures) == ("RETRYABLE", 0, 1)
    assert item.failure is not None
    assert item.failure.code == "lease_released"
    assert (lease.state, lease.phone_held, lease.account_held) == ("releasing", True, True)
    assert view.lease == lease
    (stop,) = (await world.desire("a")).stops
    assert (stop.run, stop.strategy) == (run.run, "hard")
    process = lease.process_id
    assert await audited(world, "release") == [
        ("ada", "ph-p1", f"epoch 1, process {process}: it hangs")
    ]


async def test_the_agents_word_that_it_is_clean_frees_phone_and_account(world: World) -> None:
    """First it says that the run is over, which frees the account; then the phone."""
    run = await going(world)
    await release(world)

    await world.tell(run, 1, STOPPED)
    over = await lease_of(world, run)
    await world.tell(run, 2, CLEAN)
    free = await lease_of(world, run)

    assert (over.state, over.phone_held, over.account_held) == ("releasing", True, False)
    assert (free.state, free.phone_held) == ("ended", False)


async def test_a_phone_that_was_not_cleaned_waits_for_a_person(world: World) -> None:
    """Its reason is the agent's."""
    run = await going(world)
    await release(world)

    await world.tell(run, 1, STOPPED, UNCLEAN)

    (phone,) = await world.phone_admin.all()
    assert phone.lease is not None
    assert phone.lease.state is LeaseState.DIRTY
    assert phone.phone.health_reason == "dirty: clean_up_failed: no answer"


async def test_nobody_gets_the_phone_of_a_silent_agent_before_it_had_time_to_fence(
    world: World,
) -> None:
    """Neither by an operator's return nor by the clean-up's limit: the run may still drive."""
    run = await going(world)
    reaper = reaper_of(world)
    await release(world)
    await reaper.check()

    world.clock.advance(world.timers.lease_ttl - 1)
    await reaper.check()
    await world.phone_admin.give_back("ph-p1", actor="ada", reason="let me have it")
    early = await lease_of(world, run)
    world.clock.advance(2)
    await reaper.check()
    late = await lease_of(world, run)
    (phone,) = await world.phone_admin.all()
    returned = await world.phone_admin.give_back("ph-p1", actor="ada", reason="looked at it")

    assert world.timers.self_fence + world.timers.kill < world.timers.lease_ttl - 1
    assert (early.state, early.account_held) == ("releasing", True)
    assert (late.state, late.account_held) == ("dirty", False)
    assert phone.phone.health is Health.QUARANTINED
    assert returned.lease is None


async def test_the_clean_up_after_a_release_has_its_whole_time(world: World) -> None:
    """It is counted from the agent's word that the run is over, not from the operator's."""
    run = await going(world)
    reaper = reaper_of(world)
    await release(world)
    await reaper.check()
    world.clock.advance(world.timers.clean_up + 1)
    await reaper.check()

    await world.tell(run, 1, STOPPED)
    await reaper.check()
    world.clock.advance(world.timers.clean_up - 1)
    await reaper.check()
    within = await lease_of(world, run)
    world.clock.advance(1)
    await reaper.check()
    beyond = await lease_of(world, run)

    assert world.timers.clean_up + 1 < world.timers.lease_ttl
    assert (within.state, beyond.state) == (LeaseState.RELEASING, LeaseState.DIRTY)


async def test_a_run_that_its_agent_does_not_end_at_its_cap_loses_its_phone(world: World) -> None:
    """However well it is heard: as by an operator's release, and not a moment before."""
    run = await going(world)
    reaper, terms = reaper_of(world), world.terms["a"]
    await reaper.check()
    most = (await lease_of(world, run)).most_seconds
    step = most / (most // world.timers.heartbeat)
    kept = 0.0
    while kept + 1.5 * step < most:
        world.clock.advance(step)
        kept += step
        assert await world.renew("a", terms, [run.run]) == []
        await reaper.check()
    before = await lease_of(world, run)

    world.clock.advance(step)
    assert await world.renew("a", terms, [run.run]) == []
    await reaper.check()

    item, lease = await item_of(world, run), await lease_of(world, run)
    assert most == run.cap_seconds + CAP_GRACE_SECONDS + world.timers.start
    assert before.state is LeaseState.LIVE
    assert (lease.state, lease.revoked, lease.account_held) == ("releasing", True, True)
    assert (item.state, item.work_failures, item.infra_failures) == ("RETRYABLE", 0, 1)
    assert item.failure is not None
    assert item.failure.code == "lease_expired"
    assert "did not end the run within" in item.failure.message
    assert [stop.run for stop in (await world.desire("a")).stops] == [run.run]
    assert await world.renew("a", terms, [run.run]) == [run.run]


async def test_a_heartbeat_of_a_run_that_was_released_renews_nothing(world: World) -> None:
    """Its agent hears that the lease is lost, so that it fences the run at once."""
    run = await going(world)
    before = await world.renew("a", world.terms["a"], [run.run])

    await release(world)
    after = await world.renew("a", world.terms["a"], [run.run])

    assert (before, after) == ([], [run.run])


async def test_late_words_of_a_released_run_change_nothing(world: World) -> None:
    """Its item may be with another run by now; not even its success counts."""
    run = await going(world)
    await release(world)
    before = await item_of(world, run)

    await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"), FINISHED)

    assert await item_of(world, run) == before


async def test_a_post_that_had_begun_is_not_repeated(world: World) -> None:
    """Nobody knows whether it was posted: the item ends, and says so."""
    run = await going(world, POST)
    await world.tell(run, 1, POSTING)

    await release(world)
    await world.tell(run, 2, POSTED, FINISHED)

    item = await item_of(world, run)
    assert item.state == "DEAD_LETTER"
    assert item.failure is not None
    assert item.failure.code == "outcome_unknown:post"


async def test_a_post_does_not_begin_once_its_phone_was_released(world: World) -> None:
    """Its start crossed the release on the way: unacknowledged, also repeated, it does not act."""
    run = await going(world, POST)
    await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"))
    await release(world)

    crossed = await world.tell(run, 2, POSTING)
    repeated = await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"), POSTING)
    before = await item_of(world, run)
    over = await world.tell(run, 3, STOPPED)

    assert [ack.sequence for ack in crossed] == [1]
    assert [ack.sequence for ack in repeated] == [1, 1]
    assert (before.state, before.once_started) == ("RETRYABLE", None)
    assert [ack.sequence for ack in over] == [3]


async def test_a_run_that_waits_at_the_gate_goes_back_uncharged(world: World) -> None:
    """Nothing was done; at the gate it hears that its lease is lost."""
    await world.accept()
    (run,) = await world.claim(world.offers("a", "p1"))

    await release(world)
    answer = await world.begin(run)

    item = await item_of(world, run)
    assert answer.stop == "lease_lost"
    assert (item.state, item.work_failures, item.infra_failures) == ("QUEUED", 0, 0)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("another epoch", "state_conflict:epoch_1"),
        ("free", "state_conflict:free"),
        ("cleaning", "state_conflict:releasing"),
        ("dirty", "state_conflict:dirty"),
        ("unknown", "unknown_phone:ph-nope"),
        ("no reason", "invalid_request"),
    ],
)
async def test_what_is_not_so_is_said_and_nothing_changes(
    world: World, case: str, told: str
) -> None:
    """The epoch that was seen must be the one that is; every refusal names the way out."""
    phone, epoch, reason = "ph-p1", 1, "it hangs"
    run = await going(world)
    if case == "free":
        await world.tell(run, 1, STOPPED, CLEAN)
    elif case == "another epoch":
        epoch = 2
    elif case == "cleaning":
        await world.tell(run, 1, STOPPED)
    elif case == "dirty":
        await world.tell(run, 1, STOPPED, UNCLEAN)
    elif case == "unknown":
        phone = "ph-nope"
    elif case == "no reason":
        reason = " "

    with pytest.raises(FarmError) as refused:
        await world.release(phone, epoch=epoch, actor="ada", reason=reason)

    assert refused.value.text == told
    assert await audited(world, "release") == []
