"""Limits: runs a day, seconds between runs, and runs at once are never exceeded."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.limits import LimitKind, LimitScope, day_at
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded
from phonefarm_controller.store import items
from support.asked import statements
from support.examples import given
from support.world import World, world_on

HOUR: Final = 3600.0
WHY: Final[dict[str, Any]] = {"actor": "ada", "reason": "for a test"}
PER_DAY, BETWEEN = LimitKind.RUNS_PER_DAY, LimitKind.SECONDS_BETWEEN_RUNS
AT_ONCE = LimitKind.RUNS_AT_ONCE
ACCOUNT = (LimitScope.ACCOUNT, "acc-p1")
EVERY = (LimitScope.EVERY_ACCOUNT, "")
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)
SERIALS: Final = ("p1", "p2", "p3")
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
CLEAN = PhoneReleased(clean=True, reason="", residue=())


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with three phones in a rack, on Thursday at midnight UTC."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now
        await world.furnish("a", *SERIALS)
        names = [f"ph-{serial}" for serial in SERIALS]
        await world.group_admin.put("phone", "rack", names, actor="test")
        yield world


async def put(
    world: World,
    kind: LimitKind,
    scope: tuple[LimitScope, str],
    value: int,
    zone: str = "Europe/Berlin",
) -> None:
    """Put a limit."""
    given_zone = zone if kind is PER_DAY else ""
    await world.limits.put(kind, *scope, value=value, zone=given_zone, **WHY)


async def claim(world: World, *serials: str) -> list[Assignment]:
    """Return what is claimed now."""
    return await world.claim(world.offers("a", *(serials or ("p1",))))


async def end(world: World, assignment: Assignment, ended: RunEnded = DONE) -> None:
    """Let the run end, and its phone be clean."""
    await world.tell(assignment, 1, ended, CLEAN)


async def run(world: World) -> int:
    """Do one run on the first phone, if one may begin; return how many there were."""
    found = await claim(world)
    for assignment in found:
        assert (await world.begin(assignment)).stop is None
        await end(world, assignment)
    return len(found)


async def item_of(world: World, process_id: str) -> Item:
    """Return the one item of the process."""
    async with world.database.reading() as tx:
        (item,) = (await items.lock_of_processes(tx, [process_id])).values()
    return item


@pytest.mark.parametrize("scope", [ACCOUNT, EVERY], ids=lambda scope: str(scope[0]))
@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_no_more_runs_begin_in_a_day_than_its_limit(
    world: World, scope: tuple[LimitScope, str], target: Target
) -> None:
    """The day is that of the limit's zone, an hour ahead of UTC; who waits goes on by itself."""
    for _ in range(5):
        await world.accept(target=target)
    await put(world, PER_DAY, scope, 2)

    first = [await run(world) for _ in range(3)]
    world.clock.advance(23 * HOUR - 60)
    late = await run(world)
    world.clock.advance(60)
    second = [await run(world) for _ in range(3)]

    assert first == [1, 1, 0]
    assert late == 0
    assert second == [1, 1, 0]


async def test_an_account_at_its_limit_holds_back_no_other(world: World) -> None:
    """Open work goes to the phone of an account that may begin."""
    for target in (ON_P1, ON_P1, ANYWHERE):
        await world.accept(target=target)
    await put(world, PER_DAY, EVERY, 1)
    await run(world)

    claimed = await claim(world, "p1", "p2")

    assert [one.phone_id for one in claimed] == ["ph-p2"]


async def test_what_never_passed_the_gate_does_not_count_and_a_retry_does(world: World) -> None:
    """A run that was taken back is none; one that failed is one, and so is the next."""
    process_id = await world.accept(target=ON_P1)
    await put(world, PER_DAY, ACCOUNT, 2)
    (assignment,) = await claim(world)
    failure = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)
    failed = RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=1)

    await end(world, assignment, failed)  # before it asked at the gate
    attempts = 0
    for _ in range(4):
        world.clock.advance(HOUR)
        await world.due_items.requeue()
        for again in await claim(world):
            await world.begin(again)
            await end(world, again, failed)
            attempts += 1

    item = await item_of(world, process_id)
    assert attempts == 2
    assert item.attempt == 3


async def test_an_accounts_own_limit_replaces_that_of_every_account(world: World) -> None:
    """Also a greater one; a limit of another kind stays."""
    for _ in range(6):
        await world.accept(target=ON_P1)
    await put(world, PER_DAY, EVERY, 1)
    await put(world, PER_DAY, ACCOUNT, 3)

    runs = [await run(world) for _ in range(4)]
    await world.limits.remove(PER_DAY, *ACCOUNT, **WHY)
    world.clock.advance(23 * HOUR)

    assert runs == [1, 1, 1, 0]
    assert [await run(world) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("target", [ON_P1, ANYWHERE], ids=["bound", "open"])
async def test_the_next_run_of_an_account_waits_from_the_end_of_the_last(
    world: World, target: Target
) -> None:
    """To the second; however long the last run took."""
    for _ in range(2):
        await world.accept(target=target)
    await put(world, BETWEEN, ACCOUNT, 600)
    (assignment,) = await claim(world)
    await world.begin(assignment)
    world.clock.advance(HOUR)
    await end(world, assignment)

    world.clock.advance(599)
    early = await run(world)
    world.clock.advance(1)

    assert early == 0
    assert await run(world) == 1


@pytest.mark.parametrize(
    "scope",
    [(LimitScope.GROUP, "rack"), (LimitScope.APP, "shortvideo"), (LimitScope.AGENT, "a")],
    ids=lambda scope: str(scope[0]),
)
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "open"])
async def test_no_more_runs_are_at_work_at_once_than_their_limit(
    world: World, scope: tuple[LimitScope, str], bound: bool
) -> None:
    """From the claim to the run's end; the next begins then, though a phone is still unclean."""
    for serial in SERIALS:
        target = Target(routing=Routing.DIRECT, phone_id=f"ph-{serial}") if bound else ANYWHERE
        await world.accept(target=target)
    await put(world, AT_ONCE, scope, 2)

    first = await claim(world, *SERIALS)
    left = {f"ph-{serial}" for serial in SERIALS} - {one.phone_id for one in first}
    (serial,) = (phone_id.removeprefix("ph-") for phone_id in left)
    full = await claim(world, serial)
    await world.begin(first[0])
    await world.tell(first[0], 1, DONE)
    after = await claim(world, serial)

    assert (len(first), len(full), len(after)) == (2, 0, 1)


async def test_the_gate_takes_back_what_a_limit_no_longer_allows(world: World) -> None:
    """Its item waits, uncharged, and is claimed on the next day."""
    for _ in range(2):
        await world.accept(target=ON_P1)
    await run(world)
    (assignment,) = await claim(world)
    await put(world, PER_DAY, ACCOUNT, 1)

    answer = await world.begin(assignment)
    await world.tell(assignment, 1, CLEAN)
    again = await run(world)
    world.clock.advance(23 * HOUR)

    item = await item_of(world, assignment.process_id)
    assert answer.stop == "limit_reached"
    assert (item.state, item.work_failures, item.infra_failures) == ("QUEUED", 0, 0)
    assert again == 0
    assert await run(world) == 1


async def test_a_hold_has_no_limits(world: World) -> None:
    """A person may take a phone of a full group."""
    await world.accept(target=ON_P1)
    await put(world, AT_ONCE, (LimitScope.GROUP, "rack"), 1)
    assert len(await claim(world, *SERIALS)) == 1
    await world.accept(target=ANYWHERE)

    await world.hold.hold("ph-p2", seconds=600, wait=600, **WHY)
    claimed = await claim(world, "p2", "p3")

    assert [one.phone_id for one in claimed] == ["ph-p2"]


async def test_without_a_limit_a_claim_asks_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the look nor the claim itself reads runs or limits; the cache reads no row of one."""
    await world.accept(target=ON_P1)
    async with world.database.reading() as tx:
        await world.claim.match(tx, world.offers("a", "p1"))

    with statements(world.database, monkeypatch) as asked:
        claimed = await claim(world)

    assert len(claimed) == 1
    assert [sql for sql in asked if "limits" in sql or "started_at" in sql] == []


async def test_limits_are_listed_replaced_removed_and_audited(world: World) -> None:
    """By kind, scope and name."""
    await put(world, PER_DAY, ACCOUNT, 2)
    await put(world, PER_DAY, ACCOUNT, 3)
    await put(world, BETWEEN, EVERY, 60)

    told = [limit.told for limit in await world.limits.all()]
    world.clock.advance(1)
    removed = [await world.limits.remove(BETWEEN, *EVERY, **WHY) for _ in range(2)]
    entries, _ = await world.phone_query.audit(
        subject="seconds_between_runs every_account", since=None, limit=10
    )

    assert told == [
        "account acc-p1: at most 3 a day, Europe/Berlin",
        "every account: 60 s between runs",
    ]
    assert removed == [True, False]
    assert [entry.verb for entry in entries] == ["remove limit", "put limit"]


@pytest.mark.parametrize(
    ("kind", "scope", "changes", "fields"),
    [
        (PER_DAY, ACCOUNT, {"value": 0}, ["value"]),
        (PER_DAY, ACCOUNT, {"value": 10_001, "zone": "Mars"}, ["value", "zone"]),
        (BETWEEN, ACCOUNT, {"value": 86_401, "zone": ""}, ["value"]),
        (BETWEEN, ACCOUNT, {}, ["zone"]),
        (AT_ONCE, ACCOUNT, {"zone": ""}, ["scope"]),
        (PER_DAY, (LimitScope.APP, "shortvideo"), {}, ["scope"]),
        (PER_DAY, ACCOUNT, {"reason": " "}, ["reason"]),
        (PER_DAY, (LimitScope.ACCOUNT, "nobody"), {}, ["name"]),
        (PER_DAY, (LimitScope.EVERY_ACCOUNT, "acc-p1"), {}, ["name"]),
        (AT_ONCE, (LimitScope.GROUP, "nobody"), {"zone": ""}, ["name"]),
        (AT_ONCE, (LimitScope.APP, "nothing"), {"zone": ""}, ["name"]),
        (AT_ONCE, (LimitScope.AGENT, "nobody"), {"zone": ""}, ["name"]),
    ],
)
async def test_a_limit_that_says_nothing_is_refused(
    world: World,
    kind: LimitKind,
    scope: tuple[LimitScope, str],
    changes: dict[str, Any],
    fields: list[str],
) -> None:
    """Every wrong field is named, and nothing is stored."""
    values: dict[str, Any] = {"value": 1, "zone": "UTC"} | WHY | changes

    with pytest.raises(FarmError) as refused:
        await world.limits.put(kind, *scope, **values)

    assert [problem.field for problem in refused.value.problems] == fields
    assert await world.limits.all() == []


ZONES: Final = ("Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "UTC")
MOMENTS = st.integers(min_value=946_684_800, max_value=1_893_456_000)


@given(zone=st.sampled_from(ZONES), seconds=MOMENTS)
def test_every_instant_is_in_one_day_of_its_zone(zone: str, seconds: int) -> None:
    """Also where the clock skips midnight, or a whole date; days meet without a gap."""
    instant = datetime.fromtimestamp(seconds, UTC)

    day = day_at(zone, instant)

    assert day is not None
    first, last = day
    assert first <= instant < last
    assert day_at(zone, last - timedelta(microseconds=1)) == day
    following = day_at(zone, last)
    assert following is not None
    assert following[0] == last
    here = {each.astimezone(ZoneInfo(zone)).date() for each in (first, instant)}
    assert len(here) == 1


def test_a_zone_that_is_not_known_has_no_days() -> None:
    """So nothing of its limit begins by mistake."""
    assert day_at("Mars/Base", datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.postgres
async def test_two_controllers_together_keep_a_limit(postgres_url: str) -> None:
    """They claim for other phones at the same time, again and again, and never one too many."""
    serials = [f"p{number}" for number in range(8)]
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        await one.furnish("a", *serials)
        two.terms = dict(one.terms)
        await one.group_admin.put("phone", "rack", [f"ph-{s}" for s in serials], actor="test")
        await put(one, AT_ONCE, (LimitScope.GROUP, "rack"), 3)
        for _ in range(30):
            await one.accept(target=ANYWHERE)
        counts: Counter[int] = Counter()
        for _ in range(6):
            halves = await asyncio.gather(
                one.claim(one.offers("a", *serials[:4])), two.claim(two.offers("a", *serials[4:]))
            )
            found = [assignment for half in halves for assignment in half]
            counts[len(found)] += 1
            for assignment in found:
                await one.begin(assignment)
                await end(one, assignment)

    assert max(counts) <= 3
    assert sum(counts.elements()) >= 12
