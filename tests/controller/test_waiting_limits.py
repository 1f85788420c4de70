"""Deadlines and pauses: a caller's goes on, the farm's own limit of waiting stands still."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from phonefarm_common.reasons import FailureClass
from phonefarm_controller.model.failures import Failure, expired
from phonefarm_controller.model.items import NO_DEADLINE, Item
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.records import record_of
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.store import items, pauses, processes
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.sqlite_backup import copy_paused
from sqlalchemy import text
from support.seeds import seeds
from support.world import World, world_on

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
ALL = (PauseScope.ALL, "")
APP = (PauseScope.APP, "shortvideo")
ACCOUNT = (PauseScope.ACCOUNT, "acc-p1")
OTHER_ACCOUNT = (PauseScope.ACCOUNT, "acc-p2")
CAPABILITY = (PauseScope.CAPABILITY, "keyword_warmup")
OTHER_CAPABILITY = (PauseScope.CAPABILITY, "fyp_warmup")
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ON_P2 = Target(routing=Routing.DIRECT, phone_id="ph-p2")
ANYWHERE = Target(routing=Routing.QUEUE)
PATIENCE_SECONDS: Final = 60


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with two phones and their accounts, on the test's own clock."""
    async with world_on(database_url) as world:
        _set_clock(world)
        await world.furnish("a", "p1", "p2")
        yield world


def _set_clock(world: World) -> None:
    world.database._now = world.clock.now


async def _pause(world: World, scope: tuple[PauseScope, str]) -> Pause:
    return await world.pauses.pause(*scope, actor="ada", reason="for a test")


async def _resume(world: World, scope: tuple[PauseScope, str]) -> None:
    assert await world.pauses.resume(*scope, actor="ada")


async def _item(world: World, process_id: str) -> Item:
    async with world.database.reading() as tx:
        locked = await items.lock_of_processes(tx, [process_id])
    (item,) = locked.values()
    return item


async def _end_of(world: World, process_id: str) -> str:
    """Return the failure of the item that has ended, else its state."""
    item = await _item(world, process_id)
    return item.failure.code if item.terminal and item.failure else str(item.state)


@pytest.mark.parametrize("scope", [ALL, APP, ACCOUNT, CAPABILITY], ids=lambda scope: str(scope[0]))
async def test_the_farms_limit_stands_still_while_a_pause_holds_the_work_back(
    world: World, scope: tuple[PauseScope, str]
) -> None:
    """Ten hours before it and fourteen after it make the day, however long the pause lasts."""
    process_id = await world.accept(target=ON_P1)
    world.clock.advance(10 * HOUR)
    await _pause(world, scope)
    world.clock.advance(3 * DAY)

    paused = await world.due_items.expire(), await _end_of(world, process_id)
    await _resume(world, scope)
    world.clock.advance(13.9 * HOUR)
    resumed = await world.due_items.expire(), await _end_of(world, process_id)
    world.clock.advance(0.2 * HOUR)
    over = await world.due_items.expire(), await _end_of(world, process_id)

    assert paused == (0, "QUEUED")
    assert resumed == (0, "QUEUED")
    assert over == (1, "phone_unavailable")


@pytest.mark.parametrize("deadline", [True, False])
def test_work_that_waited_too_long_names_its_last_failure(*, deadline: bool) -> None:
    """Whoever set the limit, the message says how the last attempt ended, if there was one."""
    last = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)

    first = expired(deadline=deadline, last=None).message
    again = expired(deadline=deadline, last=last).message

    assert again == f"{first}; the last attempt ended with adb_failed"


async def test_a_callers_deadline_counts_while_its_work_is_paused(world: World) -> None:
    """Nobody may act after the moment that the caller named; a resume does not move it."""
    deadline = world.clock.now() + timedelta(hours=2)
    ended = await world.accept(target=ON_P1, deadline=deadline)
    later = await world.accept(target=ON_P1, deadline=deadline + timedelta(hours=2))
    await _pause(world, ALL)
    world.clock.advance(3 * HOUR)

    expired = await world.due_items.expire()
    await _resume(world, ALL)

    assert expired == 1
    assert await _end_of(world, ended) == "deadline_passed"
    assert (await _item(world, later)).deadline_at == deadline + timedelta(hours=2)


async def test_a_pause_moves_only_what_it_holds_back(world: World) -> None:
    """Work of other accounts, work for any account, and what becomes due later keep their time."""
    held = await world.accept(target=ON_P1)
    others = [await world.accept(target=ON_P2), await world.accept(target=ANYWHERE)]
    due = world.clock.now() + timedelta(hours=5)
    scheduled = await world.accept(target=ON_P1, not_before=due)
    begin = {each: (await _item(world, each)).deadline_at for each in (held, *others, scheduled)}
    await _pause(world, ACCOUNT)
    world.clock.advance(6 * HOUR)

    await _resume(world, ACCOUNT)

    moved = {each: (await _item(world, each)).deadline_at - begin[each] for each in begin}
    assert moved[held] == timedelta(hours=6)
    assert [moved[each] for each in others] == [timedelta(0)] * 2
    assert moved[scheduled] == world.clock.now() - due


async def test_pausing_again_does_not_forget_when_the_pause_began(world: World) -> None:
    """The reason and who gives it are new; all the time since the first pause is given back."""
    process_id = await world.accept(target=ON_P1)
    deadline = (await _item(world, process_id)).deadline_at
    first = await _pause(world, ALL)
    world.clock.advance(DAY)
    again = await world.pauses.pause(*ALL, actor="bob", reason="still broken")
    world.clock.advance(DAY)

    await _resume(world, ALL)

    assert (again.since, again.by, again.reason) == (first.since, "bob", "still broken")
    assert (await _item(world, process_id)).deadline_at == deadline + timedelta(days=2)


@pytest.mark.parametrize("seed", seeds(12, quick=3))
async def test_overlapping_pauses_give_back_each_moment_once(world: World, seed: int) -> None:
    """In whatever order they begin, are repeated and end: the time that any of them covered."""
    chance = random.Random(seed)
    scopes = [ALL, APP, ACCOUNT, CAPABILITY, OTHER_ACCOUNT, OTHER_CAPABILITY]
    covering = {ALL, APP, ACCOUNT, CAPABILITY}
    due = world.clock.now() + timedelta(hours=chance.randrange(48))
    process_id = await world.accept(target=ON_P1, not_before=due)
    limit = (await _item(world, process_id)).deadline_at
    active: set[tuple[PauseScope, str]] = set()
    covered = timedelta(0)
    for _ in range(60):
        since: datetime = world.clock.now()
        world.clock.advance(chance.randrange(5 * 3600))
        if active & covering:
            covered += max(timedelta(0), world.clock.now() - max(since, due))
        scope = chance.choice(scopes)
        if scope in active and chance.random() < 0.7:
            await _resume(world, scope)
            active.discard(scope)
        else:
            await _pause(world, scope)
            active.add(scope)
    for scope in sorted(active):
        await _resume(world, scope)

    deadline = (await _item(world, process_id)).deadline_at

    assert covered > timedelta(0)
    assert deadline == limit + covered


async def test_a_prepared_run_waits_again_when_the_limit_passes_in_a_pause(world: World) -> None:
    """The gate takes it back for the pause; after the resume its time goes on where it stood."""
    process_id = await world.accept(target=ON_P1)
    world.clock.advance(DAY - 60)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await _pause(world, ALL)
    world.clock.advance(120)

    answer = await world.begin(assignment)
    expired = await world.due_items.expire()
    await _resume(world, ALL)

    item = await _item(world, process_id)
    assert (answer.stop, expired) == ("paused", 0)
    assert (item.state, item.deadline_at - world.clock.now()) == ("QUEUED", timedelta(seconds=60))


async def test_a_prepared_run_with_a_callers_deadline_ends_in_a_pause(world: World) -> None:
    """The gate says that the deadline has passed, as it does without a pause."""
    deadline = world.clock.now() + timedelta(minutes=1)
    process_id = await world.accept(target=ON_P1, deadline=deadline)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await _pause(world, ALL)
    world.clock.advance(120)

    answer = await world.begin(assignment)

    assert answer.stop == "deadline_passed"
    assert await _end_of(world, process_id) == "deadline_passed"


@pytest.mark.parametrize("max_wait", [None, 1e12], ids=["forever", "longer_than_the_calendar"])
async def test_without_a_limit_work_waits_for_ever(
    database_url: str, max_wait: float | None
) -> None:
    """No pause moves what has no end, the record shows none, and a caller's deadline counts."""
    async with world_on(database_url, policy=RetryPolicy(max_wait=max_wait)) as world:
        _set_clock(world)
        await world.furnish("a", "p1")
        process_id = await world.accept(target=ON_P1)
        deadline = world.clock.now() + timedelta(days=1)
        ends = await world.accept(target=ON_P1, deadline=deadline)
        await _pause(world, ALL)
        world.clock.advance(DAY + 1)
        await _resume(world, ALL)
        world.clock.advance(3650 * DAY)

        expired = await world.due_items.expire()
        record = await _record(world, process_id)

        assert expired == 1
        assert await _end_of(world, ends) == "deadline_passed"
        assert (await _item(world, process_id)).deadline_at == NO_DEADLINE
        (line,) = record["partial_progress"]["items"]
        assert (line["status"], line["deadline_at"], line["deadline_given"]) == (
            "QUEUED",
            None,
            False,
        )


async def _record(world: World, process_id: str) -> dict[str, Any]:
    async with world.database.reading() as tx:
        process = await processes.get(tx, process_id)
        assert process is not None
        return record_of(process, (await items.lines(tx, [process_id]))[process_id])


async def test_who_pauses_is_told_what_waits_and_which_deadlines_come(world: World) -> None:
    """Only of the scope, only what callers gave, only what passes within a day."""
    now = world.clock.now()
    await world.accept(target=ON_P1)
    await world.accept(target=ON_P1, deadline=now + timedelta(hours=30))
    await world.accept(target=ON_P1, deadline=now + timedelta(hours=20))
    first = now + timedelta(hours=10)
    await world.accept(target=ON_P2, deadline=first)

    everything = await world.pauses.waiting(*ALL)
    of_account = await world.pauses.waiting(*ACCOUNT)
    nothing = await world.pauses.waiting(*OTHER_CAPABILITY)

    assert (everything.items, everything.deadlines, everything.first_deadline) == (4, 2, first)
    assert (of_account.items, of_account.deadlines) == (3, 1)
    assert of_account.first_deadline == now + timedelta(hours=20)
    assert (nothing.items, nothing.deadlines, nothing.first_deadline) == (0, 0, None)


async def test_a_copy_of_a_paused_farm_stays_paused_since_then(tmp_path: Path) -> None:
    """The pause of the copy takes an operator's place, and keeps the time since that began."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        process_id = await world.accept(target=ON_P1)
        begun = await _pause(world, ALL)
        world.clock.advance(DAY)
        now = world.clock.now()
        again = Pause(scope=PauseScope.ALL, name="", since=now, by="backup", reason="restored")
        copy_paused(tmp_path / "farm.db", tmp_path / "copy.db", again)
    async with world_on(f"sqlite:///{tmp_path / 'copy.db'}", migrated=True) as restored:
        restored.clock.advance(7 * DAY)
        deadline = (await _item(restored, process_id)).deadline_at
        (kept,) = await restored.pauses.all()
        await _resume(restored, ALL)

        moved = (await _item(restored, process_id)).deadline_at - deadline

        assert (kept.since, kept.by, kept.reason) == (begun.since, "backup", "restored")
        assert moved == restored.clock.now() - begun.since


@pytest.mark.postgres
async def test_two_controllers_that_end_two_pauses_at_once_give_back_all_of_the_time(
    postgres_url: str,
) -> None:
    """The second waits for the first, and no longer counts on the pause that this one has ended."""
    async with world_on(postgres_url) as world, open_database(postgres_url, world.clock) as other:
        _set_clock(world)
        other._now = world.clock.now
        await world.furnish("a", "p1")
        process_id = await world.accept(target=ON_P1)
        deadline = (await _item(world, process_id)).deadline_at
        await _pause(world, ALL)
        world.clock.advance(HOUR)
        await _pause(world, APP)
        world.clock.advance(HOUR)
        async with asyncio.TaskGroup() as both, other.writing() as tx:
            await pauses.end(tx, *ALL)
            both.create_task(_resume(world, APP))
            await _somebody_waits_for_a_lock(other)

        moved = (await _item(world, process_id)).deadline_at - deadline

        assert moved == timedelta(hours=2)


async def _somebody_waits_for_a_lock(database: Database) -> None:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with database.reading() as tx:
                if (await tx.connection.execute(query)).scalar_one():
                    return
