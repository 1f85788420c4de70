"""Schedules: each instant fires once, or says why it does not, whatever happens to controllers."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from phonefarm_common.reasons import FarmError
from phonefarm_controller.model.cron import Cron, instants_after
from phonefarm_controller.model.hours import zone_of
from phonefarm_controller.model.requests import Routing, Submission, Target
from phonefarm_controller.model.schedules import (
    GRACE,
    MOST_CAUGHT_UP,
    CatchUp,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    due_firings,
    due_time,
    request_text,
    submission_of,
)
from phonefarm_controller.processes.schedules import NewSchedule
from phonefarm_controller.store import schedules
from phonefarm_controller.store.schema.schedules import schedules as table
from phonefarm_controller.store.schema.work import capability_requests, queue_items
from sqlalchemy import select, update
from support.examples import at_most, given
from support.once import ONE_ENGINE
from support.world import World, submission, world_on

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR: Final = 3600.0
ON_P1: Final = Target(routing=Routing.DIRECT, phone_id="ph-p1")
WHY: Final[dict[str, Any]] = {"actor": "ada", "reason": "for a test"}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one phone and its account, at midnight."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now
        await world.furnish("a", "p1")
        yield world


def work(**changes: Any) -> Submission:
    """Return a submission whose inputs are stored as they are."""
    made = submission(**changes)
    return replace(made, inputs_json=json.dumps(dict(made.inputs)))


def asked(**changes: Any) -> NewSchedule:
    """Return a schedule that fires each hour; *changes* replace fields."""
    values: dict[str, Any] = {
        "name": "hourly",
        "expression": "0 * * * *",
        "zone": "UTC",
        "jitter": timedelta(0),
        "catch_up": CatchUp.ONCE,
        "overlap": Overlap.ALLOW,
        "start_within": None,
        "submission": work(target=ON_P1, request_id="each"),
        **WHY,
    }
    return NewSchedule(**(values | changes))


async def fire(world: World, seconds: float = HOUR) -> list[str]:
    """Let time pass, and fire; return what came of it: hours and outcomes."""
    world.clock.advance(seconds)
    return told(await world.fire_schedules())


def told(firings: list[Firing]) -> list[str]:
    """Return hours and outcomes."""
    return [f"{one.instant:%H:%M} {one.outcome}" for one in firings]


async def requests(world: World) -> Counter[str]:
    """Return the request ids of all processes."""
    async with world.database.reading() as tx:
        query = select(capability_requests.c.request_id)
        return Counter((await tx.connection.execute(query)).scalars())


async def kept(world: World, name: str = "hourly") -> list[str]:
    """Return the firings that are kept, the oldest first."""
    return told((await world.schedules.show(name, count=1)).firings)[::-1]


async def in_trouble(world: World) -> list[tuple[str, str]]:
    """Return the findings about schedules that the doctor gets."""
    async with world.database.reading() as tx:
        return await schedules.in_trouble(tx)


async def test_each_instant_becomes_a_process_with_a_request_id_of_its_own(world: World) -> None:
    """With the request as it was; before the hour and after it nothing happens."""
    added = await world.schedules.add(asked(name="hourly"))

    early = await fire(world, HOUR - 1)
    fired = await fire(world, 1)
    again = await fire(world, 0)
    later = await fire(world)

    assert (early, fired, again, later) == ([], ["01:00 enqueued"], [], ["02:00 enqueued"])
    assert await requests(world) == {
        f"schedule:{added.schedule_id}:2026-01-01T0{hour}:00:00Z": 1 for hour in (1, 2)
    }
    details = await world.schedules.show("hourly", count=2)
    assert [f"{at:%H:%M}" for at, _ in details.next_runs] == ["03:00", "04:00"]
    assert details.schedule.last_process_id == details.firings[0].process_id
    async with world.database.reading() as tx:
        (first, _) = await tx.connection.execute(select(queue_items))
    assert (first.capability, first.want_phone_id) == ("keyword_warmup", "ph-p1")


def test_a_request_is_the_same_after_it_was_stored() -> None:
    """All of it but what each firing has for itself."""
    given_ = submission(
        target=Target(routing=Routing.GROUP, phone_ids=("a", "b"), account_group="all"),
        inputs_json='{"keywords": ["ünïcode"]}',
        inputs={"keywords": ["ünïcode"]},
        user="ada",
        callback_url=None,
        priority=9,
        caller="key",
    )
    stored = schedule(request=stored_request(given_))

    read = submission_of(stored, NOON, deadline=NOON)

    own: dict[str, Any] = {"request_id": "", "digest": "", "deadline": None, "caller": ""}
    assert replace(read, **own) == replace(given_, **own)
    assert read.deadline == NOON


def stored_request(given_: Submission) -> str:
    """Return the stored text, with a field that only a newer controller knows."""
    return request_text(given_)[:-1] + ', "of_tomorrow": 1}'


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.SKIP, ["01:00 missed", "02:00 missed", "03:00 missed"]),
        (CatchUp.ONCE, ["01:00 missed", "02:00 missed", "03:00 enqueued"]),
        (CatchUp.ALL, ["01:00 enqueued", "02:00 enqueued", "03:00 enqueued"]),
    ],
)
@ONE_ENGINE
async def test_what_no_controller_could_fire_is_caught_up_as_the_schedule_says(
    world: World, catch_up: CatchUp, expected: list[str]
) -> None:
    """After three hours without a controller; the next hour is as ever."""
    await world.schedules.add(asked(catch_up=catch_up))

    late = await fire(world, 3.5 * HOUR)
    next_hour = await fire(world, 0.5 * HOUR)

    assert late == expected
    assert next_hour == ["04:00 enqueued"]
    assert await kept(world) == [*expected, "04:00 enqueued"]


@ONE_ENGINE
async def test_a_minute_too_late_is_not_missed(world: World) -> None:
    """Nor does what is on time need the older ones of that kind: `once` is satisfied."""
    await world.schedules.add(asked(name="skip", catch_up=CatchUp.SKIP))
    await world.schedules.add(asked(name="once", catch_up=CatchUp.ONCE))

    fired = await fire(world, 2 * HOUR + GRACE.total_seconds())

    assert fired == ["01:00 missed", "02:00 enqueued"] * 2


@ONE_ENGINE
async def test_a_process_that_has_not_ended_keeps_the_next_back(world: World) -> None:
    """Until it ends; the other policy lets them pile up."""
    await world.schedules.add(asked(name="skip", overlap=Overlap.SKIP))
    await world.schedules.add(asked(name="allow", overlap=Overlap.ALLOW))

    fired = [await fire(world), await fire(world)]
    shown = await world.schedules.show("skip", count=1)
    running = shown.schedule.last_process_id
    assert running is not None
    async with world.database.writing() as tx:
        await tx.connection.execute(
            update(capability_requests)
            .where(capability_requests.c.process_id == running)
            .values(state="CANCELLED", finished_at=tx.now)
        )
    fired.append(await fire(world))

    assert [Counter(one) for one in fired] == [
        {"01:00 enqueued": 2},
        {"02:00 enqueued": 1, "02:00 overlapped": 1},
        {"03:00 enqueued": 2},
    ]
    assert shown.firings[0].message == f"process {running} has not ended"


async def test_a_request_that_has_become_wrong_is_shown_and_tried_again(world: World) -> None:
    """The account leaves and comes back; the other schedule never notices."""
    mine = work(target=Target(routing=Routing.DIRECT, account_id="acc-p1"))
    await world.schedules.add(asked(name="mine", submission=mine))
    picture = work(capability="take_screenshot", inputs={}, target=ON_P1)
    await world.schedules.add(asked(name="other", submission=picture))

    await world.put_account("acc-p1", phone_id="ph-p1", active=False)
    without, wrong = await fire(world), await in_trouble(world)
    await world.put_account("acc-p1", phone_id="ph-p1")
    with_it, well = await fire(world), await in_trouble(world)

    assert sorted(without) == ["01:00 enqueued", "01:00 refused"]
    assert with_it == ["02:00 enqueued"] * 2
    refused = (await world.schedules.show("mine", count=1)).firings[1]
    assert (wrong, well) == ([("mine", refused.message)], [])
    assert (refused.reason, refused.process_id) == ("inactive_account:acc-p1", None)
    assert "acc-p1" in refused.message


@ONE_ENGINE
async def test_a_pause_has_no_instants_and_leaves_none_to_catch_up(world: World) -> None:
    """Each change is audited once; what is deleted is gone with its firings."""
    await world.schedules.add(asked(catch_up=CatchUp.ALL))
    await fire(world)
    paused = await world.schedules.pause("hourly", **WHY)
    await world.schedules.pause("hourly", **WHY)

    during = await fire(world, 5 * HOUR)
    shown = await world.schedules.show("hourly", count=3)
    await world.schedules.resume("hourly", **WHY)
    after = await fire(world)
    await world.schedules.delete("hourly", **WHY)
    deleted = await fire(world)

    assert (paused.next_at, paused.due_at, shown.next_runs) == (None, None, [])
    assert (during, after, deleted) == ([], ["07:00 enqueued"], [])
    assert await world.schedules.all() == []
    async with world.database.reading() as tx:
        assert await schedules.firings_of(tx, paused.schedule_id) == []
    for verb in (world.schedules.pause, world.schedules.resume, world.schedules.delete):
        with pytest.raises(FarmError, match="there is no schedule 'hourly'") as refused:
            await verb("hourly", **WHY)
        assert refused.value.text == "unknown_schedule:hourly"
    assert len(await requests(world)) == 2


@ONE_ENGINE
async def test_everything_that_is_wrong_is_told_at_once(world: World) -> None:
    """The schedule's own fields and those of its request; nothing is stored."""
    wrong = asked(
        name="a b",
        expression="61 * * * *",
        zone="Mars/Olympus",
        jitter=timedelta(days=2),
        start_within=timedelta(0),
        submission=work(inputs={"keywords": []}),
        reason=" ",
    )

    with pytest.raises(FarmError) as refused:
        await world.schedules.add(wrong)
    with pytest.raises(FarmError) as unknown:
        await world.schedules.add(asked(submission=work(capability="nothing")))

    fields = [problem.field for problem in refused.value.problems]
    assert fields == [
        *("reason", "name", "cron", "zone", "jitter_seconds", "start_within_seconds"),
        "request.inputs.keywords",
    ]
    assert unknown.value.text == "unknown_capability:nothing"
    assert [problem.field for problem in unknown.value.problems] == ["request.capability"]
    assert await world.schedules.all() == []
    assert not await requests(world)


async def test_a_name_belongs_to_one_schedule(world: World) -> None:
    """Until that one is deleted; its successor is another schedule."""
    first = await world.schedules.add(asked())
    with pytest.raises(FarmError, match="another schedule") as refused:
        await world.schedules.add(asked())
    await world.schedules.delete("hourly", **WHY)
    second = await world.schedules.add(asked())

    assert refused.value.text == "state_conflict:name_taken"
    assert first.schedule_id != second.schedule_id


@ONE_ENGINE
async def test_work_that_is_late_to_begin_can_end_by_itself(world: World) -> None:
    """`start_within` is the caller's deadline of each process, from its firing."""
    await world.schedules.add(asked(start_within=timedelta(minutes=10)))
    await fire(world)

    async with world.database.reading() as tx:
        (item,) = await tx.connection.execute(select(queue_items))
    world.clock.advance(601)
    expired = await world.due_items.expire()

    assert (item.deadline_given, item.deadline_at - item.created_at) == (
        True,
        timedelta(minutes=10),
    )
    assert expired == 1


@ONE_ENGINE
async def test_jitter_is_the_same_at_every_look_and_spreads_schedules(world: World) -> None:
    """Within the window; twenty schedules of the same hour do not fire together."""
    added = [
        await world.schedules.add(asked(name=f"s{number}", jitter=timedelta(minutes=10)))
        for number in range(20)
    ]

    early = await fire(world, HOUR - 1)
    offsets = [due_time(one, one.next_at) - one.next_at for one in added if one.next_at]
    shown = await world.schedules.show("s7", count=1)
    halfway = await fire(world, 301)
    rest = await fire(world, 300)

    assert early == []
    assert all(timedelta(0) <= offset <= timedelta(minutes=10) for offset in offsets)
    assert len(set(offsets)) > 10
    assert shown.next_runs == [(added[7].next_at, added[7].due_at)]
    assert len(halfway) == sum(offset <= timedelta(minutes=5) for offset in offsets)
    assert halfway + rest == ["01:00 enqueued"] * 20


@ONE_ENGINE
async def test_a_full_disk_lets_instants_wait(world: World) -> None:
    """They are not refused; the catch-up policy decides when there is room."""
    await world.schedules.add(asked(catch_up=CatchUp.ALL))
    world.disk_alarm.shortage = "1 MiB left"
    full = await fire(world)
    world.disk_alarm.shortage = ""

    assert full == []
    assert await fire(world) == ["01:00 enqueued", "02:00 enqueued"]


@ONE_ENGINE
async def test_a_schedule_that_cannot_fire_keeps_back_only_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, is looked at again a minute later, and then catches up."""
    await world.schedules.add(asked(name="lost", zone="Asia/Kathmandu", expression="45 * * * *"))
    await world.schedules.add(asked(name="other"))
    with monkeypatch.context() as without:
        without.setattr(
            "phonefarm_controller.model.cron.zone_of",
            lambda name: zone_of(name) if name == "UTC" else None,
        )
        fired = await fire(world)
        shown = (await world.schedules.show("lost", count=3)).schedule
        told_of = await in_trouble(world)
        soon = await fire(world, 30)

    again = await fire(world, 31)

    assert (fired, soon, again) == (["01:00 enqueued"], [], ["01:00 enqueued"])
    assert "does not know the time zone Asia/Kathmandu" in shown.problem
    assert told_of == [("lost", shown.problem)]
    assert (await world.schedules.show("lost", count=1)).schedule.problem == ""


@ONE_ENGINE
async def test_new_rules_of_a_zone_take_effect_when_the_loop_begins(world: World) -> None:
    """What is stored is computed again from the instant up to which all were handled."""
    added = await world.schedules.add(asked(zone="Europe/Berlin", expression="0 9 * * *"))
    wrong = added.handled_until + timedelta(hours=20)
    async with world.database.writing() as tx:
        await tx.connection.execute(update(table).values(next_at=wrong, due_at=wrong))

    await world.fire_schedules.renew_due_times()

    assert await world.schedules.all() == [added]


@ONE_ENGINE
async def test_of_many_firings_the_newest_are_kept(world: World) -> None:
    """A year without a controller is one look, of a hundred instants."""
    await world.schedules.add(asked(expression="* * * * *", catch_up=CatchUp.ALL))

    fired = await fire(world, 365 * 24 * HOUR + 30)
    next_minute = await fire(world, 60)

    assert len(fired) == MOST_CAUGHT_UP + 1  # the one of this very minute is on time
    assert next_minute == ["00:01 enqueued"]
    assert await kept(world) == [*fired, *next_minute][-schedules.MOST_FIRINGS :]


@pytest.mark.postgres
async def test_two_controllers_at_once_make_one_process_of_each_instant(postgres_url: str) -> None:
    """Without an election; whoever waits for the other's lock finds nothing to do."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        for world in (one, two):
            world.database._now = one.clock.now
        await one.furnish("a", "p1")
        for number in range(5):
            await one.schedules.add(asked(name=f"s{number}", catch_up=CatchUp.ALL))

        fired = []
        for _ in range(10):
            one.clock.advance(2 * HOUR)
            for firings in await asyncio.gather(*(w.fire_schedules() for w in (one, two, one))):
                fired += firings

        made = await requests(one)

    assert len(fired) == len(made) == 5 * 20
    assert set(made.values()) == {1}


class Death(BaseException):
    """The controller dies here."""


@contextmanager
def dying(where: str) -> Iterator[None]:
    """Let the controller die once, right after it has called *where* of the store."""
    alive = getattr(schedules, where)

    async def call(*given_: Any, **more: Any) -> Any:
        await alive(*given_, **more)
        raise Death

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schedules, where, call)
        yield


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "death", "set back"]),
        st.sampled_from([30.0, 59.0, 600.0, HOUR, 2 * HOUR]),
        st.sampled_from(["lock", "keep_firings", "save"]),
    ),
    min_size=1,
    max_size=25,  # at most 100 instants: all of them are named
)


@at_most(40)
@given(STEPS, st.sampled_from(CatchUp))
async def test_no_death_and_no_step_of_the_clock_fires_an_instant_twice(
    steps: list[tuple[str, float, str]], catch_up: CatchUp
) -> None:
    """In any order: each instant is handled once, and has one process or none."""
    with TemporaryDirectory() as folder:
        async with world_on(f"sqlite:///{Path(folder) / 'farm.db'}") as world:
            await world.furnish("a", "p1")
            added = await world.schedules.add(asked(catch_up=catch_up, expression="*/30 * * * *"))
            handled: list[Firing] = []
            for kind, seconds, where in steps:
                world.clock.advance(-seconds if kind == "set back" else seconds)
                with dying(where) if kind == "death" else nullcontext(), suppress(Death):
                    handled += await world.fire_schedules()
            (last,) = await world.schedules.all()
            made = await requests(world)

    instants = [one.instant for one in handled]
    due = takewhile(
        lambda one: one <= last.handled_until, instants_after(added.cron, added.handled_until)
    )
    assert instants == list(due)
    enqueued = [one.instant for one in handled if one.outcome is FiringOutcome.ENQUEUED]
    assert made == {submission_of(added, instant).request_id: 1 for instant in enqueued}


def schedule(**changes: Any) -> Schedule:
    """Return a schedule; *changes* replace fields."""
    values: dict[str, Any] = {
        "schedule_id": "s",
        "name": "s",
        "cron": Cron(expression="0 * * * *", zone="UTC"),
        "jitter": timedelta(0),
        "catch_up": CatchUp.ONCE,
        "overlap": Overlap.ALLOW,
        "start_within": None,
        "request": "{}",
        "paused": False,
        "handled_until": NOON,
        "next_at": None,
        "due_at": None,
        "last_process_id": None,
        "problem": "",
        "created_at": NOON,
        "created_by": "ada",
    }
    return Schedule(**(values | changes))


ABSENCES = st.one_of(
    st.timedeltas(timedelta(seconds=1), timedelta(minutes=3)),
    st.timedeltas(timedelta(0), timedelta(days=3)),
    st.timedeltas(timedelta(0), timedelta(days=8)),
)


EXPRESSIONS = st.sampled_from(
    ["*/20 * * * *", "30 2 * * *", "0 0 * * mon", "15 */6 1,15 * *", "0 1-3 * * *"]
)
SCHEDULES = st.builds(
    lambda expression, zone, passed, catch_up, jitter: schedule(
        cron=Cron(expression=expression, zone=zone),
        handled_until=datetime(2020, 1, 1, tzinfo=UTC) + passed,
        catch_up=catch_up,
        jitter=timedelta(minutes=jitter),
    ),
    EXPRESSIONS,
    st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Africa/Casablanca"]),
    st.timedeltas(timedelta(0), timedelta(days=14 * 365)),
    st.sampled_from(CatchUp),
    st.sampled_from([0, 10]),
)


@at_most(100)
@given(SCHEDULES, st.lists(st.tuples(ABSENCES, st.booleans()), min_size=1, max_size=12))
def test_over_years_each_instant_is_handled_once_and_by_the_policy(
    state: Schedule, looks: list[tuple[timedelta, bool]]
) -> None:
    """Looks at any time, with clocks set back between them: all instants are accounted for."""
    now = state.handled_until
    every = instants_after(state.cron, now)
    coming = next(every)
    for passed, set_back in looks:
        now += -passed / 2 if set_back else passed
        before, due = state.handled_until, due_firings(state, now)
        late: list[datetime] = []
        on_time: list[datetime] = []
        while (due_at := due_time(state, coming)) <= now:
            (late if now - due_at > GRACE else on_time).append(coming)
            coming = next(every)
        if due is None:
            assert (late, on_time) == ([], [])
            continue
        assert due.handled_until == [*late, *on_time][-1] > before
        state = replace(state, handled_until=due.handled_until)
        named = late[-MOST_CAUGHT_UP:]
        assert sorted(due.fire + due.missed) == named + on_time
        match state.catch_up:
            case CatchUp.SKIP:
                assert list(due.fire) == on_time
            case CatchUp.ONCE:
                assert list(due.fire) == (on_time or named[-1:])
            case CatchUp.ALL:
                assert list(due.fire) == named + on_time
