"""Windows: work begins in them only, ends before they close, and loses nothing outside them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from phonefarm_common.reasons import FarmError
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.model.windows import WindowScope
from phonefarm_controller.scheduler.windows import Windows
from phonefarm_controller.store import items, leases
from phonefarm_controller.store.schema import work as schema
from sqlalchemy import delete
from support.asked import statements
from support.world import World, world_on

HOUR: Final = 3600.0
ACCOUNT = (WindowScope.ACCOUNT, "acc-p1")
PHONE = (WindowScope.PHONE, "ph-p1")
GROUP = (WindowScope.GROUP, "rack")
CAPABILITY = (WindowScope.CAPABILITY, "keyword_warmup")
SCOPES = (ACCOUNT, PHONE, GROUP, CAPABILITY)
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)
WHY: Final[dict[str, Any]] = {"actor": "ada", "reason": "for a test"}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one phone and its account, on Thursday at midnight in London."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now
        await world.furnish("a", "p1")
        await world.group_admin.put("phone", "rack", ["ph-p1"], actor="test")
        yield world


async def put(
    world: World, scope: tuple[WindowScope, str], *hours: str, may_overrun: bool = False
) -> None:
    """Put a window in London."""
    texts = list(hours) or ["daily 09:00-17:00"]
    await world.windows.put(
        *scope, zone="Europe/London", spans=texts, may_overrun=may_overrun, **WHY
    )


def set_time(world: World, text: str) -> None:
    """Let it be that time of the first day, or later by days, as `1d 08:00`."""
    days, _, clock = text.rpartition(" ")
    hour, minute, *second = clock.split(":")
    day = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=int(days.strip("d") or 0))
    moment = day.replace(hour=int(hour), minute=int(minute), second=int((second or ["0"])[0]))
    world.clock.advance((moment - world.clock.now()).total_seconds())


async def claim(world: World) -> list[str]:
    """Return the processes that are claimed now."""
    return [one.process_id for one in await world.claim(world.offers("a", "p1"))]


async def item_of(world: World, process_id: str) -> Item:
    """Return the one item of the process."""
    async with world.database.reading() as tx:
        (item,) = (await items.lock_of_processes(tx, [process_id])).values()
    return item


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_work_is_claimed_in_its_window_only(
    world: World, scope: tuple[WindowScope, str], target: Target
) -> None:
    """Closed, then open, without anybody who says so; whatever the window is for."""
    process_id = await world.accept(target=target)
    await put(world, scope)

    set_time(world, "08:59:59")
    before = await claim(world)
    set_time(world, "09:00:00")
    after = await claim(world)

    assert (before, after) == ([], [process_id])


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_nothing_is_claimed_that_could_not_end_in_its_window(
    world: World, scope: tuple[WindowScope, str], target: Target
) -> None:
    """A long run waits for tomorrow and holds back no short one; unless it may overrun."""
    long = await world.accept(
        target=target, priority=9, inputs={"keywords": ["x"] * 10, "videos_per_keyword": 10}
    )
    short = await world.accept(target=target)
    caps = [(await item_of(world, each)).cap_seconds for each in (long, short)]
    await put(world, scope)
    set_time(world, "17:00")
    world.clock.advance(-caps[1] - world.timers.start)

    first = await claim(world)
    await put(world, scope, may_overrun=True)
    async with world.database.writing() as tx:  # the phone is clean again
        await tx.connection.execute(delete(schema.leases))
    second = await claim(world)

    assert caps[0] > caps[1]
    assert first == [short]
    assert second == [long]


async def test_a_run_that_is_too_late_by_a_moment_waits(world: World) -> None:
    """Its limit of time and the time to start must fit, to the second."""
    process_id = await world.accept(target=ON_P1)
    cap = (await item_of(world, process_id)).cap_seconds
    await put(world, ACCOUNT)
    set_time(world, "17:00")
    world.clock.advance(-cap - world.timers.start + 1)

    late = await claim(world)
    world.clock.advance(-1)

    assert late == []
    assert await claim(world) == [process_id]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_a_run_that_is_prepared_is_taken_back_at_the_gate(
    world: World, scope: tuple[WindowScope, str]
) -> None:
    """It performs nothing, its item waits uncharged, and is claimed when the window opens."""
    process_id = await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await put(world, scope)

    answer = await world.begin(assignment)

    async with world.database.reading() as tx:
        lease = (await leases.get(tx, [assignment.run.lease_id]))[assignment.run.lease_id]
    item = await item_of(world, process_id)
    assert answer.stop == "outside_window"
    assert (item.state, item.work_failures, item.infra_failures) == ("QUEUED", 0, 0)
    assert not item.executed
    assert lease.state is LeaseState.RELEASING


async def test_the_gate_lets_a_run_begin_as_long_as_it_can_end_in_time(world: World) -> None:
    """Its `go` is good until the last such moment; what has begun goes on."""
    await world.accept(target=ON_P1)
    await put(world, ACCOUNT)
    set_time(world, "09:00")
    (assignment,) = await world.claim(world.offers("a", "p1"))
    set_time(world, "17:00")
    world.clock.advance(-assignment.cap_seconds - 7)

    go = await world.begin(assignment)
    world.clock.advance(HOUR * 2)
    again = await world.begin(assignment)

    assert (go.stop, again.stop) == (None, None)
    assert go.seconds_left == pytest.approx(7)


async def test_the_gate_reads_the_windows_as_they_are(world: World) -> None:
    """Also one that this controller's claim has not heard of: another one has put it."""
    await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    unheard = Windows(database=world.database, wakeups=WakeUps(), max_wait=None)

    await unheard.put(*GROUP, zone="UTC", spans=["mon 00:00-24:00"], may_overrun=False, **WHY)

    assert (await world.begin(assignment)).stop == "outside_window"


async def test_all_windows_of_the_work_must_be_open(world: World) -> None:
    """The account's, the phone's, its group's and the capability's, each in its zone."""
    process_id = await world.accept(target=ON_P1)
    await put(world, ACCOUNT, "daily 08:00-12:00")
    await put(world, PHONE, "daily 09:00-12:00")
    await put(world, GROUP, "daily 10:00-12:00")
    await world.windows.put(
        *CAPABILITY, zone="America/New_York", spans=["thu 06:00-07:00"], may_overrun=False, **WHY
    )
    claimed = []
    for clock in ("08:30", "09:30", "10:30", "11:00"):
        set_time(world, clock)
        claimed.append(await claim(world))

    assert claimed == [[], [], [], [process_id]]


async def test_a_clock_that_is_set_back_closes_the_window_again(world: World) -> None:
    """It is open or not by the time that it is, whatever has been before."""
    await world.accept(target=ON_P1)
    await put(world, PHONE)
    set_time(world, "08:00")
    await claim(world)
    set_time(world, "1d 08:30")

    closed = await claim(world)
    set_time(world, "10:00")

    assert closed == []
    assert len(await claim(world)) == 1


async def test_a_window_of_one_holds_back_nobody_else(world: World) -> None:
    """Another account, phone and capability work; a hold takes the phone at any time."""
    await world.put_account("acc-two", phone_id="ph-p1")
    one = Target(routing=Routing.DIRECT, phone_id="ph-p1", account_id="acc-p1")
    two = Target(routing=Routing.DIRECT, phone_id="ph-p1", account_id="acc-two")
    await put(world, ACCOUNT)
    await put(world, (WindowScope.CAPABILITY, "fyp_warmup"))
    await world.accept(target=one, priority=9)
    wanted = await world.accept(target=two)

    assert await claim(world) == [wanted]


async def test_a_hold_has_no_window(world: World) -> None:
    """A person takes the phone while its window is closed, and passes the gate."""
    await put(world, PHONE)
    hold = await world.hold.hold(
        "ph-p1", seconds=600, wait=600, actor="ada", reason="to look at it"
    )

    (assignment,) = await world.claim(world.offers("a", "p1"))

    assert assignment.process_id == hold
    assert (await world.begin(assignment)).stop is None


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_the_farms_limit_does_not_end_work_that_has_a_window(
    world: World, scope: tuple[WindowScope, str]
) -> None:
    """A week later it is claimed; what has a deadline of its caller ends at it."""
    deadline = world.clock.now() + timedelta(hours=30)
    process_id = await world.accept(target=ON_P1)
    given = await world.accept(target=ON_P1, deadline=deadline)
    await put(world, scope, "wed 09:00-17:00")
    set_time(world, "5d 12:00")

    ended = await world.due_items.expire()
    set_time(world, "6d 12:00")
    claimed = await world.claim(world.offers("a", "p1"))
    answer = await world.begin(claimed[0])

    assert ended == 1
    assert (await item_of(world, given)).terminal
    assert [one.process_id for one in claimed] == [process_id]
    assert answer.stop is None


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_what_waited_in_a_window_gets_the_limit_as_from_its_removal(
    world: World, scope: tuple[WindowScope, str]
) -> None:
    """It ends a day later and not at once; the second removal finds nothing."""
    process_id = await world.accept(target=ON_P1)
    await put(world, scope, "wed 09:00-09:01")
    set_time(world, "5d 12:00")

    removed = [await world.windows.remove(*scope, **WHY) for _ in range(2)]
    at_once = await world.due_items.expire()
    set_time(world, "6d 12:01")
    ended = await world.due_items.expire()

    assert removed == [True, False]
    assert (at_once, ended) == (0, 1)
    assert (await item_of(world, process_id)).terminal


async def test_a_go_is_good_until_the_window_closes_also_past_the_farms_limit(
    world: World,
) -> None:
    """The limit that has no say makes it neither short nor endless; asked again, it is no end."""
    await world.accept(target=ON_P1)
    await put(world, ACCOUNT, "wed 09:00-17:00")
    set_time(world, "6d 10:00")
    (assignment,) = await world.claim(world.offers("a", "p1"))
    set_time(world, "6d 17:00")
    world.clock.advance(-assignment.cap_seconds - 7)

    go = await world.begin(assignment)
    again = await world.begin(assignment)

    assert (go.stop, again.stop) == (None, None)
    assert go.seconds_left == pytest.approx(7)


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_what_is_claimed_when_its_window_is_removed_begins(
    world: World, scope: tuple[WindowScope, str]
) -> None:
    """It has waited in the window for longer than the limit, and is prepared just now."""
    process_id = await world.accept(target=ON_P1)
    await put(world, scope, "wed 09:00-17:00")
    set_time(world, "6d 12:00")
    (assignment,) = await world.claim(world.offers("a", "p1"))

    await world.windows.remove(*scope, **WHY)

    assert (await world.begin(assignment)).stop is None
    assert (await item_of(world, process_id)).deadline_at > world.clock.now()


async def test_other_work_ends_beside_much_that_waits_in_windows(world: World) -> None:
    """What the limit does not end is not looked at instead of what it does."""
    other = Target(routing=Routing.DIRECT, phone_id="ph-p2")
    await world.furnish("b", "p2")
    for _ in range(250):
        await world.accept(target=ON_P1)
    await world.accept(target=other)
    await put(world, ACCOUNT)
    set_time(world, "2d 00:00")

    assert await world.due_items.expire() == 1


@pytest.mark.parametrize(
    ("scope", "changes", "fields"),
    [
        (ACCOUNT, {"zone": "Mars/Olympus"}, ["zone"]),
        (ACCOUNT, {"zone": "", "spans": []}, ["zone", "hours"]),
        (ACCOUNT, {"spans": ["mon 09:00-17:00", "x", "mon 1-2"]}, ["hours[1]", "hours[2]"]),
        (ACCOUNT, {"spans": ["mon 09:00-17:00"] * 51}, ["hours"]),
        (ACCOUNT, {"reason": " "}, ["reason"]),
        (ACCOUNT, {"reason": "x" * 501}, ["reason"]),
        ((WindowScope.ACCOUNT, "nobody"), {}, ["name"]),
        ((WindowScope.PHONE, "nobody"), {}, ["name"]),
        ((WindowScope.GROUP, "nobody"), {}, ["name"]),
        ((WindowScope.CAPABILITY, "nothing"), {}, ["name"]),
    ],
)
async def test_a_window_that_says_nothing_is_refused(
    world: World, scope: tuple[WindowScope, str], changes: dict[str, Any], fields: list[str]
) -> None:
    """Every wrong field is named, and nothing is stored."""
    given: dict[str, Any] = {"zone": "UTC", "spans": ["daily 09:00-17:00"], "may_overrun": False}
    given |= WHY | changes

    with pytest.raises(FarmError) as refused:
        await world.windows.put(*scope, **given)

    assert [problem.field for problem in refused.value.problems] == fields
    assert await world.windows.all() == []


async def test_a_window_is_replaced_and_shown_as_it_is_now(world: World) -> None:
    """By scope and name, with when it opens; the audit has each change."""
    await put(world, PHONE, "mon 09:00-17:00")
    await put(world, PHONE, "Thu  09:00-17:00", "fri 09:00-10:00")
    await put(world, ACCOUNT, "daily 00:00-24:00")

    listed = await world.windows.all()
    details = await world.phone_query.phone("ph-p1")
    entries, _ = await world.phone_query.audit(subject="phone ph-p1", since=None, limit=10)

    told = [(each.window.told, each.period.open, each.period.until) for each in listed]
    opens = datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert told == [
        ("account acc-p1: daily 00:00-24:00 Europe/London", True, None),
        ("phone ph-p1: thu 09:00-17:00, fri 09:00-10:00 Europe/London", False, opens),
    ]
    assert list(details.windows) == listed
    assert [(entry.actor, entry.verb) for entry in entries] == [("ada", "put window")] * 2


async def test_a_claim_beside_open_windows_asks_what_it_asks_without(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one statement more, as long as no window closes within the longest run."""
    await world.accept(target=ON_P1)
    offers = world.offers("a", "p1")
    set_time(world, "09:00")
    with statements(world.database, monkeypatch) as without:
        async with world.database.reading() as tx:
            await world.claim.match(tx, offers)
    for scope in SCOPES:
        await put(world, scope)
    with statements(world.database, monkeypatch) as beside:
        async with world.database.reading() as tx:
            found = await world.claim.match(tx, offers)

    assert len(found.pairs) == 1
    assert len(beside) == len(without)


async def test_the_windows_of_work_are_found_by_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite searches the key, and walks no window of others: at the gate, and at the limit."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await put(world, ACCOUNT, "daily 00:00-24:00")
        await world.accept(target=ON_P1)
        (assignment,) = await world.claim(world.offers("a", "p1"))
        with statements(world.database, monkeypatch) as asked:
            await world.begin(assignment)
            await world.due_items.expire()
        of_windows = {sql: given for sql, given in asked.items() if "windows" in sql}
        steps = []
        async with world.database.reading() as tx:
            for sql, given in of_windows.items():
                if "LIMIT" in sql and "queue_items" not in sql:
                    continue  # whether there is any: one row
                rows = await tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)
                steps += [row.detail for row in rows]

    assert len(of_windows) == 3
    assert [step for step in steps if "windows" in step]
    assert not [step for step in steps if step.startswith("SCAN windows")]
