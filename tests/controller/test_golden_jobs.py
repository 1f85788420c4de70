"""Golden jobs: a phone shows that it can work before it comes back, and once a day when free."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome, Transport
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.health import HealthPolicy, Owed
from phonefarm_controller.model.items import GOLDEN, HOLD
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded
from phonefarm_controller.model.states import Health, Intent
from phonefarm_controller.model.windows import WindowScope
from phonefarm_controller.store import agents, leases, queue
from phonefarm_controller.store.phones import Phone
from support.controller import PATIENCE
from support.situations import change_phone, connect, offer
from support.world import World, world_on

DAY = timedelta(days=1)
CLEAN = PhoneReleased(clean=True, reason="", residue=())
UNCLEAN = PhoneReleased(clean=False, reason="left: process x", residue=())
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a database, whose time a test moves, with one agent and a phone; golden jobs are on."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}", golden_every=DAY) as world:
        await world.furnish("a", "p1")
        yield world


def failed(
    code: str = "adb_failed", of: FailureClass = FailureClass.INFRA, *, final: bool = False
) -> RunEnded:
    """Return the ending of a run that failed."""
    failure = Failure(code=code, message="m", failure_class=of, final=final)
    return RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=1)


async def rest(world: World, seconds: float = 31) -> None:
    """Let time pass, the agent being heard, and what is due be done."""
    world.clock.advance(seconds)
    async with world.database.writing() as tx:
        await agents.heard_in_term(tx, "a", world.terms["a"])
    await world.due_items.requeue()
    await world.due_items.expire()
    await world.health_expiry()


async def run(world: World, *told: RunEnded | PhoneReleased) -> Assignment:
    """Claim what is next on the phone, begin it and report; return it."""
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    await world.tell(assignment, 1, *told)
    return assignment


async def quarantine(world: World) -> None:
    """Let three runs fail for the phone's sake."""
    for _ in range(3):
        await world.accept(target=ON_P1)
        await run(world, failed(final=True), CLEAN)
        await rest(world)
    assert (await phone(world)).health is Health.QUARANTINED


async def phone(world: World) -> Phone:
    """Return the phone as the controller has it."""
    (view,) = await world.phone_admin.all()
    return view.phone


async def proving(world: World) -> None:
    """Bring the phone to where it must pass a golden job."""
    await quarantine(world)
    await rest(world, 1200)
    at = await phone(world)
    assert at.health is Health.QUARANTINED
    assert at.health_reason.startswith("proving: round 1")


async def test_a_phone_comes_back_from_quarantine_when_it_has_passed_one(world: World) -> None:
    """Until then it gets no work; the run needs no account and goes before what waits."""
    await proving(world)
    waiting = await world.accept(target=ON_P1, priority=9)

    job = await run(world, DONE, CLEAN)
    back = await phone(world)
    (work,) = await world.claim(world.offers("a", "p1"))

    assert (job.capability, job.account_id) == (GOLDEN, "")
    assert (back.health, back.rounds) == (Health.SUSPECT, 1)
    assert back.health_reason.startswith(
        "quarantine_over: round 1 has ended, and the phone passed its golden"
    )
    assert (work.process_id, work.account_id) == (waiting, "acc-p1")
    ends, _ = await world.phone_query.audit(subject="ph-p1", since=None, limit=10)
    assert [entry.verb for entry in reversed(ends) if entry.actor == "controller"] == [
        "quarantine",  # as it fails
        "quarantine",  # its time is over: it must pass a golden job
        "end quarantine",
    ]


@pytest.mark.parametrize(
    ("code", "of"),
    [
        ("adb_failed", FailureClass.INFRA),
        ("action_timeout", FailureClass.WORK),
        ("ui_dump_failed", FailureClass.WORK),
    ],
)
async def test_a_phone_that_fails_it_stays_for_the_next_round(
    world: World, code: str, of: FailureClass
) -> None:
    """One failure is enough, of whatever kind; what is tried again waits for the next chance."""
    await proving(world)

    await run(world, failed(code, of), CLEAN)
    out = await phone(world)
    await rest(world, 600)
    again = await world.claim(world.offers("a", "p1"))
    await rest(world, 1800)
    await run(world, DONE, CLEAN)

    assert (out.health, out.rounds) == (Health.QUARANTINED, 2)
    assert out.health_reason.startswith("infra_failures")
    assert again == []
    assert (await phone(world)).health is Health.SUSPECT


@pytest.mark.parametrize("code", ["agent_fenced", "runtime_failed", "host_storage_full"])
async def test_what_was_its_hosts_says_nothing_of_the_phone(world: World, code: str) -> None:
    """It tries again, in the same round."""
    await proving(world)

    await run(world, failed(code), CLEAN)
    after = await phone(world)
    await rest(world)
    await run(world, DONE, CLEAN)

    assert after.health_reason.startswith("proving: round 1")
    assert (await phone(world)).health is Health.SUSPECT


@pytest.mark.parametrize(
    ("code", "of"),
    [("runtime_failed", FailureClass.INFRA), ("plan_invalid", FailureClass.WORK)],
)
async def test_one_that_told_nothing_of_the_phone_is_followed_by_another(
    world: World, code: str, of: FailureClass
) -> None:
    """Nobody has to wait a day for it, nor does one that cannot be followed come every minute."""
    await proving(world)
    await run(world, failed(code, of, final=True), CLEAN)
    held = await world.claim(world.offers("a", "p1"))

    early = await world.golden_jobs()
    await rest(world, 601)
    late = await world.golden_jobs()

    assert held == []
    assert (await phone(world)).rounds == 1
    assert (early, late) == ([], ["ph-p1"])
    await run(world, DONE, CLEAN)
    assert (await phone(world)).health is Health.SUSPECT


async def test_a_person_who_breaks_off_costs_no_round(world: World) -> None:
    """What is not a golden job's says nothing of whether the phone passes one."""
    await proving(world)
    await world.hold.hold("ph-p1", seconds=60, wait=600, actor="ada", reason="odd")

    await run(world, failed("phone_lost"), CLEAN)

    at = await phone(world)
    assert (at.rounds, at.health_reason[:9]) == (1, "proving: ")
    assert at.cooling_until is not None


@pytest.mark.parametrize("together", [True, False])
async def test_one_that_is_passed_and_leaves_dirt_is_passed(
    world: World, *, together: bool
) -> None:
    """However its records come."""
    await proving(world)
    job = await run(world, DONE, *([UNCLEAN] if together else []))
    if not together:
        await world.tell(job, 2, UNCLEAN)
    dirty = await phone(world)
    await world.tell(job, 3, CLEAN)
    clean = await phone(world)

    assert (dirty.verdict.dirty, dirty.rounds) == (True, 1)
    assert clean.health is Health.SUSPECT


async def test_who_must_pass_one_goes_before_who_was_only_idle(tmp_path: Path) -> None:
    """And nobody who gets one often keeps the others from theirs."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}", golden_every=DAY) as world:
        serials = [f"p{number:02}" for number in range(10)]
        await world.furnish("a", *serials)
        reason = "proving: round 1 of its quarantine has ended"
        await change_phone(
            world,
            "ph-p09",
            health=Health.QUARANTINED,
            health_reason=reason,
            rounds=1,
            owed=Owed.PROOF,
        )

        first = await world.golden_jobs()
        world.clock.advance(61)
        second = await world.golden_jobs()

    assert "ph-p09" in first
    assert len(first) == 8
    assert set(first) | set(second) == {f"ph-{serial}" for serial in serials}


async def test_a_phone_that_it_left_dirty_does_not_come_back_for_being_clean(world: World) -> None:
    """Its round goes on where it was."""
    await proving(world)
    job = await run(world, failed(), UNCLEAN)
    dirty = await phone(world)

    await rest(world, 700)
    await world.tell(job, 3, CLEAN)
    clean = await phone(world)

    assert dirty.health_reason == "dirty: left: process x"
    assert (clean.health, clean.rounds) == (Health.QUARANTINED, 2)
    assert clean.health_until is not None


async def test_a_free_phone_gets_one_a_day(world: World) -> None:
    """However the last one ended; the first at once."""
    first = await world.golden_jobs()
    job = await run(world, failed(final=True), CLEAN)
    after = await phone(world)
    early = [await at(world, hours) for hours in (1, 22.5)]
    late = await at(world, 1)

    assert (first, job.capability) == (["ph-p1"], GOLDEN)
    assert (after.health, after.rounds) == (Health.SUSPECT, 0)
    assert (
        after.health_reason
        == "infra_failure: it failed once recently, the last time with adb_failed"
    )
    assert early == [[], []]
    assert late == ["ph-p1"]


async def at(world: World, hours: float) -> list[str]:
    """Look again after so many hours."""
    await rest(world, hours * 3600)
    made: list[str] = await world.golden_jobs()
    return made


async def test_it_is_looked_for_once_a_minute(world: World) -> None:
    """The ticker may turn more often."""
    await change_phone(world, "ph-p1", transport=Transport.OFFLINE)
    away = await world.golden_jobs()
    await change_phone(world, "ph-p1", transport=Transport.ONLINE)

    early = await world.golden_jobs()
    world.clock.advance(61)
    late = await world.golden_jobs()

    assert (away, early, late) == ([], [], ["ph-p1"])


@pytest.mark.parametrize(
    "state",
    [
        "at work",
        "offline",
        "agent gone",
        "agent drained",
        "quarantined",
        "maintenance",
        "held",
        "no account",
        "off",
    ],
)
async def test_a_phone_that_is_not_free_gets_none(world: World, state: str) -> None:
    """One in quarantine has its time to serve, and one that cannot run the app has no work."""
    if state == "at work":
        await world.accept(target=ON_P1)
        await world.claim(world.offers("a", "p1"))
    elif state == "offline":
        await change_phone(world, "ph-p1", transport=Transport.OFFLINE)
    elif state == "agent gone":
        await world.handshake.disconnect("a", world.terms["a"])
    elif state == "agent drained":
        await world.drain.agent("a", actor="ada", reason="a look")
    elif state == "quarantined":
        await change_phone(world, "ph-p1", health=Health.QUARANTINED, health_reason="odd")
    elif state == "maintenance":
        await change_phone(world, "ph-p1", intent=Intent.MAINTENANCE)
    elif state == "held":
        await world.hold.hold("ph-p1", seconds=60, wait=60, actor="ada", reason="odd")
    elif state == "no account":
        await world.put_account("acc-p1", phone_id="ph-p1", active=False)
    else:
        world.golden_jobs.every = None

    assert await world.golden_jobs() == []


async def test_idle_phones_of_a_host_are_not_all_taken_at_once(tmp_path: Path) -> None:
    """Some a minute, until each had one."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}", golden_every=DAY) as world:
        await world.furnish("a", *(f"p{number}" for number in range(20)))
        made = []
        for _ in range(4):
            made.append(await world.golden_jobs())
            world.clock.advance(61)

    assert [len(each) for each in made] == [8, 8, 4, 0]
    assert len({phone_id for each in made for phone_id in each}) == 20


@pytest.mark.parametrize("scope", [PauseScope.ALL, PauseScope.APP, PauseScope.CAPABILITY])
async def test_it_waits_for_a_pause(world: World, scope: PauseScope) -> None:
    """Which it says; at the start gate too."""
    await world.golden_jobs()
    name = {PauseScope.ALL: "", PauseScope.APP: "shortvideo", PauseScope.CAPABILITY: GOLDEN}[scope]
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.pauses.pause(scope, name, actor="ada", reason="a look")

    answer = await world.begin(assignment)
    await world.tell(assignment, 1, CLEAN)
    connect(world, "a")
    offer(world, "p1")
    told = await world.explain(assignment.process_id)
    paused = await world.claim(world.offers("a", "p1"))
    await world.pauses.resume(scope, name, actor="ada", reason="")
    resumed = await world.claim(world.offers("a", "p1"))

    assert answer.stop == "paused"
    assert [reason.reason for reason in told.reasons] == ["paused"]
    assert paused == []
    assert [each.process_id for each in resumed] == [assignment.process_id]


async def test_a_person_goes_first(world: World) -> None:
    """Also on a phone that is to prove itself; both in one look."""
    await proving(world)
    await world.hold.hold("ph-p1", seconds=60, wait=600, actor="ada", reason="odd")

    held = await run(world, DONE, CLEAN)
    between = await phone(world)
    job = await run(world, DONE, CLEAN)

    assert (held.capability, job.capability) == (HOLD, GOLDEN)
    assert between.health_reason.startswith("proving: ")
    assert (await phone(world)).health is Health.SUSPECT


async def test_what_hinders_it_is_told_and_nothing_else(world: World) -> None:
    """Its phone's quarantine does not; that its agent does not offer the phone does."""
    await proving(world)
    async with world.database.reading() as tx:
        (job,) = await queue.open_phone_only(tx, ["ph-p1"])
    connect(world, "a")
    work = await world.accept(target=ON_P1)

    away = await world.explain(job.process_id)
    told = (await world.explain(work)).reasons
    offer(world, "p1")
    there = await world.explain(job.process_id)

    assert [reason.reason for reason in away.reasons] == ["not_offered"]
    assert there.summary == "about to be claimed"
    assert "the phone gets a golden job when its agent offers it" in str(told)


async def test_one_that_fails_before_it_begins_is_tried_again_for_no_account(world: World) -> None:
    """Behind its back-off, by whichever walk of the queue finds it due."""
    await world.golden_jobs()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.tell(assignment, 1, failed("agent_fenced"), CLEAN)
    early = await world.claim(world.offers("a", "p1"))
    world.clock.advance(60)  # due, and nobody has taken it into the walk of the ready
    (again,) = await world.claim(world.offers("a", "p1"))

    assert early == []
    assert (again.run.item_id, again.account_id) == (assignment.run.item_id, "")
    async with world.database.reading() as tx:
        assert (await leases.of_phones(tx, ["ph-p1"]))["ph-p1"].account_held is False


async def test_without_them_a_quarantine_ends_by_time(tmp_path: Path) -> None:
    """As before; also for a phone that was to prove itself when they were turned off."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}", golden_every=DAY) as world:
        await world.furnish("a", "p1")
        await proving(world)
        world.golden_jobs.every = None
        await rest(world, 24 * 3600 - 1200)
        before = await phone(world)
        await rest(world, 1300)

        assert before.health_reason.startswith("proving: ")
        assert (await phone(world)).health is Health.SUSPECT


async def test_each_engine_keeps_it(database_url: str) -> None:
    """A quarantine that ends by the database's clock, the job, its end."""
    policy = HealthPolicy(cool_down=0, quarantine_first=0.2)
    async with world_on(database_url, health=policy, golden_every=DAY) as world:
        await world.furnish("a", "p1")
        for _ in range(3):
            await world.accept(target=ON_P1)
            await run(world, failed(final=True), CLEAN)
        async with asyncio.timeout(PATIENCE):
            while not (await phone(world)).verdict.proving:
                world.clock.advance(0.1)
                await world.health_expiry()
        await run(world, DONE, CLEAN)
        back = await phone(world)
        free = await world.golden_jobs()

        assert (back.health, back.rounds) == (Health.SUSPECT, 1)
        assert free == []


@pytest.mark.parametrize(
    "window", [(WindowScope.PHONE, "ph-p1"), (WindowScope.CAPABILITY, GOLDEN)], ids=str
)
async def test_a_golden_job_waits_for_its_windows(
    world: World, window: tuple[WindowScope, str]
) -> None:
    """It does not end while it waits, and is claimed when the window opens."""
    spans = ["sun 12:00-13:00"]
    await world.windows.put(
        *window, zone="UTC", spans=spans, may_overrun=False, actor="ada", reason="a test"
    )
    connect(world, "a")
    offer(world, "p1")
    await rest(world)
    world.clock.advance(61)
    assert await world.golden_jobs() == ["ph-p1"]

    closed = await world.claim(world.offers("a", "p1"))
    for _ in range(3):
        await rest(world, 86_400)
    at_midnight = await world.claim(world.offers("a", "p1"))
    await rest(world, 12 * 3600)
    (opened,) = await world.claim(world.offers("a", "p1"))
    answer = await world.begin(opened)

    assert (closed, at_midnight) == ([], [])
    assert (opened.capability, answer.stop) == (GOLDEN, None)
