"""Loops that one controller runs for all: how an owner is found; what a former one may write."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.agents.offers import offers_here, publish_offers
from phonefarm_controller.agents.sessions import Session
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.cluster.leader_election import LoopOwnership, run_elected
from phonefarm_controller.model.errors import OwnerLostError
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.store import items
from phonefarm_controller.store.loop_leases import LoopLease, Tenure
from support.controller import PATIENCE
from support.world import World, moved_ref, world_on

TIMERS = replace(Timers(), loop_beat=0.02, loop_lapse=0.3)
ENDED = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
RELEASED = PhoneReleased(clean=True, reason="", residue=())


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and its phone."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        yield world


class _Loop:
    """A loop that only says under which terms it ran."""

    def __init__(self) -> None:
        self.tenures: list[Tenure] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, tenure: Tenure | None) -> None:
        """Run until cancelled."""
        assert tenure is not None
        self.tenures.append(tenure)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class _Deaf(LoopOwnership):
    """An owner that cannot show that it lives, as one that is frozen or cut off."""

    async def beat(self, tenure: Tenure) -> bool:
        """Say that it did."""
        return True


class _Counted(LoopOwnership):
    """A controller whose looks at the loop's owner can be waited for."""

    def __init__(self, world: World, owner: str) -> None:
        super().__init__(database=world.database, owner=owner)
        self._seen = asyncio.Event()

    async def get(self, loop: str) -> LoopLease | None:
        """Say when the look is over."""
        found = await super().get(loop)
        self._seen.set()
        return found

    async def looked(self, times: int) -> None:
        """Wait for so many further looks."""
        for _ in range(times):
            self._seen.clear()
            await self._seen.wait()


async def test_of_two_controllers_one_runs_the_loop_and_the_next_follows(world: World) -> None:
    """The one that stops leaves it at once; the terms rise."""
    first, second = _Loop(), _Loop()
    ownership = _Counted(world, "two")
    async with asyncio.timeout(PATIENCE):
        one = _run(world, "one", first)
        await first.began.wait()
        two = _run(world, "two", second, ownership)
        await ownership.looked(5)
        waited = not second.began.is_set()
        one.cancel()
        await second.began.wait()
    await _over(one, two)

    assert waited
    assert [tenure.term for tenure in first.tenures + second.tenures] == [1, 2]


async def test_an_owner_that_is_not_heard_loses_the_loop(world: World) -> None:
    """Its counter stands still for the whole time; what it writes after that is refused."""
    process_id = await world.accept()
    first, second = _Loop(), _Loop()
    ownership = _Counted(world, "two")
    async with asyncio.timeout(PATIENCE):
        one = _run(world, "one", first, _Deaf(database=world.database, owner="one"))
        await first.began.wait()
        two = _run(world, "two", second, ownership)
        await ownership.looked(2)
        world.clock.advance(TIMERS.loop_lapse * 0.9)
        await ownership.looked(2)
        waited = not second.began.is_set()
        world.clock.advance(TIMERS.loop_lapse * 0.2)
        await second.began.wait()
    (old,), (new,) = first.tenures, second.tenures

    with pytest.raises(OwnerLostError):
        await world.mend(process_id, tenure=old)
    await world.mend(process_id, tenure=new)
    await _over(one, two)

    assert waited
    assert (old.term, new.term) == (1, 2)


async def test_an_owner_that_comes_back_late_stops(world: World) -> None:
    """Another has taken the loop: the former owner's ends with its next beat."""
    loop, ownership = _Loop(), LoopOwnership(database=world.database, owner="two")
    async with asyncio.timeout(PATIENCE):
        one = _run(world, "one", loop)
        await loop.began.wait()
        taken = None
        while taken is None:  # it beats between our look and our taking
            taken = await ownership.take("loop", seen=await ownership.get("loop"))
        await loop.ended.wait()
    await _over(one)

    assert taken.term == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_ticker_of_an_old_term_moves_nothing(world: World) -> None:
    """The items wait for the owner of now, whose term is checked in the same transaction."""
    await world.accept()
    ownership = LoopOwnership(database=world.database, owner="x")
    old = await ownership.take("ticker", seen=None)
    assert old is not None
    await ownership.leave(old)
    new = await ownership.take("ticker", seen=await ownership.get("ticker"))
    world.clock.advance(100_000)

    with pytest.raises(OwnerLostError):
        await world.due_items.expire(tenure=old)
    moved = await world.due_items.expire(tenure=new)

    assert moved == 1


async def test_a_session_that_was_superseded_writes_nothing(world: World) -> None:
    """Start, reports and forgotten runs of an old term are refused; the agent says them anew."""
    await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    old = world.terms["a"]
    await world.meet("a", "p1")
    new = world.terms["a"]

    world.terms["a"] = old
    late_start = await world.begin(assignment)
    late_acks = await world.tell(assignment, 1, ENDED, RELEASED)
    await world.lease_expiry.forget([assignment.run.lease_id], agent_id="a", term=old)
    world.terms["a"] = new
    start = await world.begin(assignment)
    acks = await world.tell(assignment, 1, ENDED, RELEASED)

    assert late_start.stop == "superseded"
    assert late_acks == []
    assert start.stop is None
    assert [ack.sequence for ack in acks] == [2, 2]


async def test_an_offer_of_an_old_session_gets_no_work(world: World) -> None:
    """The agent has a newer one, in which it may not offer that phone any more."""
    await world.accept()
    old = world.offers("a", "p1")
    await world.meet("a", "p1")

    by_the_old = await world.claim(old)
    by_the_new = await world.claim(world.offers("a", "p1"))

    assert by_the_old == []
    assert len(by_the_new) == 1


async def test_a_report_under_another_epoch_is_not_recorded(world: World) -> None:
    """It is of another claim of the phone: the run goes on, and its own ending counts."""
    await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    another = replace(assignment, run=moved_ref(assignment.run, epoch=assignment.run.epoch + 1))

    acks = await world.tell(another, 1, ENDED, RELEASED)
    before = await _state(world, assignment)
    await world.tell(assignment, 1, ENDED, RELEASED)
    after = await _state(world, assignment)

    assert [ack.sequence for ack in acks] == [0, 0]
    assert (before, after) == (ItemState.EXECUTING, ItemState.DONE)


@pytest.mark.postgres
async def test_what_an_agent_offers_elsewhere_is_seen_here(postgres_url: str) -> None:
    """Phones and explanations are the same whichever controller is asked; nobody claims by it."""
    async with world_on(postgres_url) as here, world_on(postgres_url) as there:
        for world in (here, there):
            world.wakeups.alone = False
        await there.furnish("a", "p1")
        session = Session(agent_id="a", term=there.terms["a"], incarnation=1)
        there.sessions.enter(session)
        there.sessions.offer(session, 1, ["ph-p1"])
        before = [view.offered for view in await here.phone_admin.all()]

        await publish_offers(there.database, [session])
        process_id = await here.accept()
        after = [view.offered for view in await here.phone_admin.all()]
        told = await here.explain(process_id)

        assert (before, after) == ([False], [True])
        assert told == await there.explain(process_id)
        assert offers_here(here.sessions) == []


async def _state(world: World, assignment: Assignment) -> ItemState:
    async with world.database.reading() as tx:
        found = await items.get(tx, [assignment.run.item_id])
    return found[assignment.run.item_id].state


def _run(
    world: World, name: str, loop: _Loop, ownership: LoopOwnership | None = None
) -> "asyncio.Task[None]":
    ownership = ownership or LoopOwnership(database=world.database, owner=name)
    return asyncio.create_task(
        run_elected(
            "loop",
            loop,
            ownership=ownership,
            timers=TIMERS,
            clock=world.clock,
            liveness=Liveness(1),
        )
    )


async def _over(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
