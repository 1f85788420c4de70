"""Two controllers on one PostgreSQL: whatever they do at once, every promise holds."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.agents.handshake import Welcome
from phonefarm_controller.model.leases import dirty
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.processes.enqueue import Accepted
from phonefarm_controller.store import leases
from sqlalchemy import text
from support.crowd import SERIALS, Crowd
from support.seeds import seeds
from support.snapshots import check, snapshot
from support.world import World, posting_allowed, submission, world_on

pytestmark = pytest.mark.postgres

ROUNDS, HANDS, DEEDS = 5, 6, 25
ENDED = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
RELEASED = PhoneReleased(clean=True, reason="", residue=())


@pytest.fixture
async def worlds(postgres_url: str) -> AsyncIterator[tuple[World, World]]:
    """Open the same database for two controllers that know the same agent."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        await one.furnish("agent", *SERIALS)
        two.terms, two.incarnations = dict(one.terms), dict(one.incarnations)
        yield one, two


async def blocked(world: World) -> None:
    """Return once some transaction waits for another's lock."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(180):
        while True:
            async with world.database.reading() as tx:
                if (await tx.connection.execute(query)).scalar_one():
                    return


@pytest.mark.parametrize("seed", seeds(3))
async def test_many_hands_on_two_controllers_break_no_promise(seed: int, postgres_url: str) -> None:
    """No state that must not be, no deadlock, no surprise; judged after each round."""
    policy = RetryPolicy(retry_first=0.02, infra_attempts=4)
    with posting_allowed():
        async with (
            world_on(postgres_url, policy=policy) as one,
            world_on(postgres_url, policy=policy) as two,
        ):
            await one.furnish("agent", *SERIALS)
            two.terms, two.incarnations = dict(one.terms), dict(one.incarnations)
            crowd = Crowd((one, two), seed)

            for _ in range(ROUNDS):
                await crowd.work(HANDS, DEEDS)
                check(await snapshot(one.database))

            end = await snapshot(two.database)

    assert crowd.busy == []
    states = Counter(item["state"] for item in end.items.values())
    assert states["DONE"] >= 5, states  # or nothing was really done


async def test_batches_of_the_same_keys_in_other_orders_meet_without_a_deadlock(
    worlds: tuple[World, World],
) -> None:
    """Each key makes one process, whoever was first, and nobody is told of trouble."""
    one, two = worlds
    for number in range(5):
        keys = [f"{number}-{place}" for place in range(40)]
        batch = [submission(request_id=key) for key in keys]

        answers = await asyncio.gather(one.enqueue(batch), two.enqueue(batch[::-1]))

        told = [answer for half in answers for answer in half]
        assert not any(isinstance(answer, Exception) for answer in told)
        accepted = [answer for answer in told if isinstance(answer, Accepted)]
        assert sum(not answer.duplicate for answer in accepted) == len(keys)
        assert len({answer.process_id for answer in accepted}) == len(keys)


async def test_a_heartbeat_behind_an_expiry_hears_that_the_lease_is_lost(
    worlds: tuple[World, World],
) -> None:
    """An acknowledgement is a promise for a minute: it is given only for what is kept."""
    one, two = worlds
    await one.accept()
    (assignment,) = await one.claim(one.offers("agent", "a"))
    lease_id = assignment.run.lease_id
    async with one.database.writing() as tx:
        assert await leases.unrenewed(tx, lease_id, renewals=0)
        beat = asyncio.ensure_future(two.renew("agent", two.terms["agent"], [assignment.run]))
        await blocked(one)
        lease = (await leases.get(tx, [lease_id]))[lease_id]
        await leases.save(tx, {lease_id: lease}, [dirty(lease, reason="lease expired")])

    assert await beat == [assignment.run]


async def test_an_expiry_behind_a_heartbeat_leaves_the_lease(worlds: tuple[World, World]) -> None:
    """The counter moved under the reaper: compare and set."""
    one, two = worlds
    await one.accept()
    (assignment,) = await one.claim(one.offers("agent", "a"))
    lease_id = assignment.run.lease_id
    async with one.database.writing() as tx:
        await leases.renew_if_live(tx, "agent", {lease_id: assignment.run.epoch})
        reaping = asyncio.ensure_future(two.lease_expiry.expire(lease_id, renewals=0))
        await blocked(one)

    assert await reaping is False


async def test_a_phone_returned_and_confirmed_clean_at_once_comes_back_once(
    worlds: tuple[World, World],
) -> None:
    """The operator and the agent say the same at the same moment; neither is told of trouble."""
    one, two = worlds
    for _ in range(8):
        await one.accept()
        (assignment,) = await one.claim(one.offers("agent", "a"))
        await one.begin(assignment)
        await one.lease_expiry.expire(assignment.run.lease_id, renewals=0)

        await asyncio.gather(
            one.phone_admin.give_back("ph-a", actor="test", reason="looked at it"),
            two.tell(assignment, 1, ENDED, RELEASED),
        )

        view = next(view for view in await one.phone_admin.all() if view.phone.phone_id == "ph-a")
        assert view.lease is None
        assert view.phone.in_service


async def test_the_first_two_hellos_of_an_agent_get_two_terms(worlds: tuple[World, World]) -> None:
    """Also when both controllers have never heard of it: one of them is the newer."""
    one, two = worlds
    for number in range(5):
        name = f"new-{number}"
        greeted = await asyncio.gather(one.meet(name), two.meet(name), return_exceptions=True)

        terms = [answer.term for answer in greeted if isinstance(answer, Welcome)]
        assert sorted(terms) == [1, 2]
