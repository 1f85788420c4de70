"""The farm's stream: what changes comes once and as it is, from wherever a watcher goes on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from phonefarm_common.reasons import FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.fleet import farm_watch
from phonefarm_controller.fleet.farm_watch import (
    FarmChanges,
    FarmCursor,
    FarmWatch,
    FarmWatcher,
    IncidentChange,
    ProcessChange,
    Reset,
)
from phonefarm_controller.fleet.phones import PhoneView
from phonefarm_controller.model.phone_reports import Incident
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.rpc.farm_watch_convert import cursor_of, place_of
from phonefarm_controller.store import hosts
from phonefarm_controller.store.database import Database, Transaction
from sqlalchemy import text
from support.world import World, world_on

PATIENCE = 180.0
CLEAN = PhoneReleased(clean=True, reason="", residue=())
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)


def watch_of(world: World) -> FarmWatch:
    """Return the watch of one controller; a test reads when it wants to."""
    return FarmWatch(
        database=world.database, sessions=world.sessions, monotonic=world.clock.monotonic
    )


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and two phones with their accounts."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        yield world


async def soon(watcher: FarmWatcher) -> FarmChanges:
    """Return what is new."""
    found = await watcher.next(within=PATIENCE)
    assert found is not None
    return found


def names(found: FarmChanges) -> list[str]:
    """Return what changed, by its name."""
    return [name_of(change) for change in found.changes]


def name_of(change: farm_watch.Change) -> str:
    """Return the phone, the process or the incident."""
    match change:
        case PhoneView():
            return change.phone.phone_id
        case ProcessChange():
            return change.process.process_id
        case IncidentChange():
            return change.incident.incident_id


async def test_a_watcher_begins_with_a_reset_and_then_sees_what_changes(world: World) -> None:
    """A phone and a process, each as it is now; nothing comes for what stayed."""
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        first = await soon(watcher)
        await world.phone_admin.maintain("ph-p1", actor="ada", reason="a new cable")
        process_id = await world.accept()
        await farm.refresh()
        second = await soon(watcher)
        await farm.refresh()
        nothing = await watcher.next(within=0.01)

    assert (first.reset, first.changes) == (Reset.CONNECTED, ())
    assert sorted(names(second)) == sorted(["ph-p1", process_id])
    phone, process = second.changes
    assert isinstance(phone, PhoneView)
    assert isinstance(process, ProcessChange)
    assert [blocker.kind for blocker in phone.blockers] == [
        "phone_in_maintenance",
        "agent_disconnected",
    ]
    assert (process.process.status, process.newest.to_state) == ("queued", "QUEUED")
    assert nothing is None


async def test_a_run_shows_on_its_phone_and_its_process(world: World) -> None:
    """What drives the phone, for whom, since when; at the end it is free again."""
    process_id = await world.accept()
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        (run,) = await world.claim(world.offers("a", "p1"))
        await world.begin(run)
        await farm.refresh()
        at_work = await soon(watcher)
        await world.tell(run, 1, DONE, CLEAN)
        await farm.refresh()
        over = await soon(watcher)

    phone, process = at_work.changes
    assert isinstance(phone, PhoneView)
    assert isinstance(process, ProcessChange)
    assert phone.lease is not None
    assert (phone.lease.process_id, phone.process_type) == (process_id, "keyword_warmup")
    assert phone.since == phone.lease.granted_at
    assert (process.phone_id, process.account_id) == ("ph-p1", "acc-p1")
    free, done = over.changes
    assert isinstance(free, PhoneView)
    assert isinstance(done, ProcessChange)
    assert free.lease is None
    assert done.process.status == "completed"


async def test_a_heartbeat_is_no_change(world: World) -> None:
    """A lease is renewed every few seconds, for every phone at work."""
    await world.accept()
    (run,) = await world.claim(world.offers("a", "p1"))
    await world.begin(run)
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        await world.renew("a", world.terms["a"], [run.run])
        await farm.refresh()

        assert await watcher.next(within=0.01) is None


async def test_an_incident_comes_when_it_begins_and_when_it_ends(world: World) -> None:
    """With its host."""
    incident = Incident(
        incident_id="i-1",
        kind="usb_hub",
        error="the hub is gone",
        phones=("ph-p1", "ph-p2"),
        began_at=world.clock.now(),
        ended_at=None,
        seen_by="agent",
    )
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        async with world.database.writing() as tx:
            await hosts.keep(tx, "a", {"i-1": incident})
        await farm.refresh()
        began = await soon(watcher)
        world.clock.advance(5)
        async with world.database.writing() as tx:
            await hosts.end(tx, "a", ["i-1"])
        await farm.refresh()
        ended = await soon(watcher)

    assert began.changes == (IncidentChange(agent_id="a", incident=incident),)
    (over,) = ended.changes
    assert isinstance(over, IncidentChange)
    assert over.incident.ended_at is not None
    assert replace(over.incident, ended_at=None) == incident


async def test_the_same_reader_goes_on_where_a_watcher_left(world: World) -> None:
    """What changed while it was away comes, and nothing else, without a reset."""
    farm = watch_of(world)
    with farm.watch(None) as other:
        with farm.watch(None) as watcher:
            await farm.refresh()
            left = (await soon(watcher)).cursor
        await soon(other)
        first, second = await world.accept(), await world.accept()
        await farm.refresh()
        with farm.watch(left) as watcher:
            taken = await soon(watcher)
            found = await soon(watcher)

    assert (taken.cursor, taken.changes, taken.reset) == (left, (), None)
    assert names(found) == [first, second]


async def test_another_reader_goes_on_where_a_watcher_left(world: World) -> None:
    """A controller that has restarted: the processes that moved, every phone, no reset."""
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        left = (await soon(watcher)).cursor
    seen = await world.accept()
    after = watch_of(world)
    with after.watch(left) as watcher:
        await after.refresh()
        found = await soon(watcher)
        later = await world.accept()
        await after.refresh()
        more = await soon(watcher)

    assert found.reset is None
    assert names(found) == ["ph-p1", "ph-p2", seen]
    assert names(more) == [later]


async def test_who_was_away_too_long_starts_anew(world: World) -> None:
    """Behind an hour, a list is the shorter way."""
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        left = (await soon(watcher)).cursor
    world.clock.advance(3601)
    after = watch_of(world)
    old = replace(left, at=left.at - timedelta(hours=2))
    with after.watch(old) as watcher:
        await after.refresh()

        assert (await soon(watcher)).reset is Reset.TOO_OLD


async def test_who_reads_too_slowly_starts_anew_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring keeps so many things; who reads in time sees them all."""
    monkeypatch.setattr(farm_watch, "REMEMBERED", 3)
    farm = watch_of(world)
    with farm.watch(None) as quick, farm.watch(None) as slow:
        await farm.refresh()
        for watcher in (quick, slow):
            await soon(watcher)
        made, seen = [], []
        for _ in range(5):
            made.append(await world.accept())
            await farm.refresh()
            seen += names(await soon(quick))
        fallen = await soon(slow)
        made.append(await world.accept())
        await farm.refresh()
        after = await soon(slow)

    assert seen == made[:5]
    assert (fallen.reset, fallen.changes) == (Reset.TOO_SLOW, ())
    assert names(after) == made[5:]


async def test_what_is_behind_comes_in_parts_that_a_cursor_divides(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher that goes on behind any part, at either reader, misses nothing."""
    monkeypatch.setattr(farm_watch, "MOST_AT_ONCE", 2)
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        made = [await world.accept() for _ in range(5)]
        await farm.refresh()
        first = await soon(watcher)
        with farm.watch(first.cursor) as again:
            await soon(again)
            rest = names(await soon(again)) + names(await soon(again))
        other = watch_of(world)
        with other.watch(first.cursor) as elsewhere:
            await other.refresh()
            there = names(await soon(elsewhere))

    assert names(first) == made[:2]
    assert rest == made[2:]
    assert set(made[2:]) <= set(there)


async def test_after_a_time_without_watchers_a_reader_reads_no_history(world: World) -> None:
    """What moved meanwhile is for those who ask for it, and comes to nobody who begins now."""
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        left = (await soon(watcher)).cursor
    world.clock.advance(farm_watch.MISSING_SECONDS + 1)
    made = await world.accept()
    with farm.watch(None) as fresh, farm.watch(left) as back:
        await farm.refresh()
        begun, resumed = await soon(fresh), await soon(back)
        nothing = await fresh.next(within=0.01)

    assert (begun.reset, resumed.reset) == (Reset.CONNECTED, None)
    assert made in names(resumed)
    assert nothing is None


async def _transition(tx: Transaction, number: int, process_id: str) -> None:
    """Write a transition with this number."""
    query = text(
        "INSERT INTO transitions (number, process_id, at, to_state, actor, reason, attempt) "
        "VALUES (:number, :process_id, 0, 'QUEUED', 'test', 'test', 0)"
    )
    await tx.connection.execute(query, {"number": number, "process_id": process_id})


async def _number(database: Database) -> int:
    async with database.reading() as tx:
        newest = await tx.connection.execute(text("SELECT max(number) FROM transitions"))
    return int(newest.scalar_one() or 0)


async def test_a_number_that_is_committed_late_is_not_missed(world: World) -> None:
    """PostgreSQL hands numbers out before the commit: the lower may come after the higher."""
    early, late = await world.accept(), await world.accept()
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        number = await _number(world.database)
        async with world.database.writing() as tx:
            await _transition(tx, number + 2, early)
        await farm.refresh()
        first = await soon(watcher)
        async with world.database.writing() as tx:
            await _transition(tx, number + 1, late)
        await farm.refresh()
        second = await soon(watcher)

    assert names(first) == [early]
    assert first.cursor.number == number
    assert names(second) == [late]
    assert second.cursor.number == number + 2


async def test_a_number_that_never_comes_holds_the_cursor_for_a_minute(world: World) -> None:
    """It was rolled back."""
    process_id = await world.accept()
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        number = await _number(world.database)
        async with world.database.writing() as tx:
            await _transition(tx, number + 2, process_id)
        await farm.refresh()
        held = farm.place
        world.clock.advance(farm_watch.MISSING_SECONDS / 2)
        await farm.refresh()
        world.clock.advance(farm_watch.MISSING_SECONDS / 2 + 1)
        await farm.refresh()
        gone = farm.place

    assert held is not None
    assert gone is not None
    assert (held.number, gone.number) == (number, number + 2)


async def test_a_watcher_that_waits_is_woken(world: World) -> None:
    """It asks before there is anything."""
    farm = watch_of(world)
    with farm.watch(None) as watcher:
        await farm.refresh()
        await soon(watcher)
        waiting = asyncio.create_task(soon(watcher))
        process_id = await world.accept()
        await farm.refresh()

        assert names(await waiting) == [process_id]


def test_a_cursor_is_the_place_and_nothing_else_is_one(world: World) -> None:
    """It survives the way over the wire; what we never made is refused by its field."""
    place = FarmCursor(number=7, at=world.clock.now(), reader="r", version=3)

    assert place_of(cursor_of(place)) == place
    assert place_of("") is None
    for wrong in (
        "x",
        "W10=",
        "WzEsMl0=",
        "Wy0xLDIsInIiLDNd",
        "a" * 300,
        "Wzk5OSwxZTk5LCJyIiwzXQ==",
    ):
        with pytest.raises(FarmError) as caught:
            place_of(wrong)
        assert [problem.field for problem in caught.value.problems] == ["after"]


@pytest.mark.postgres
async def test_a_second_controller_tells_what_the_first_did(postgres_url: str) -> None:
    """And goes on from the first one's cursor, and the first from its."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        await one.furnish("a", "p1")
        here, there = watch_of(one), watch_of(two)
        with here.watch(None) as at_one, there.watch(None) as at_two:
            await here.refresh()
            await there.refresh()
            left = (await soon(at_one)).cursor
            await soon(at_two)
            made = await one.accept()
            await one.phone_admin.maintain("ph-p1", actor="ada", reason="a new cable")
            await there.refresh()
            elsewhere = await soon(at_two)
            with there.watch(left) as resumed:
                back = await soon(resumed)
            with here.watch(elsewhere.cursor) as returned:
                await here.refresh()
                home = await soon(returned)

    assert sorted(names(elsewhere)) == sorted(["ph-p1", made])
    assert sorted(names(back)) == sorted(["ph-p1", made])
    assert made not in names(home)
