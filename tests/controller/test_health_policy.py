"""The controller's one hand on the health of phones: what runs, agents and time do to it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.fleet.phones import PhoneView
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded, RunRefused
from phonefarm_controller.model.states import Health
from phonefarm_controller.store import agents
from phonefarm_controller.store.audit import Entry
from support.controller import PATIENCE
from support.world import World, world_on

CLEAN = PhoneReleased(clean=True, reason="", residue=())
SERIALS = ("p1", "p2", "p3", "p4")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a database, whose time a test moves, with one agent and four phones."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", *SERIALS)
        yield world


async def claim(world: World, serial: str) -> str:
    """Ask for work on the phone and claim it; return the lease, and keep the assignment."""
    await world.accept(target=Target(routing=Routing.DIRECT, phone_id=f"ph-{serial}"))
    (assignment,) = await world.claim(world.offers("a", serial))
    world.assignments[serial] = assignment
    return assignment.run.lease_id


async def fail(
    world: World,
    serial: str,
    code: str = "adb_failed",
    failure_class: FailureClass = FailureClass.INFRA,
) -> None:
    """Let a run on the phone fail; the phone comes back clean."""
    await claim(world, serial)
    assignment = world.assignments[serial]
    await world.begin(assignment)
    failure = Failure(code=code, message="m", failure_class=failure_class, final=True)
    ended = RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=1)
    await world.tell(assignment, 1, ended, CLEAN)


async def rest(world: World, seconds: float = 31) -> None:
    """Let time pass, the agent being heard, and what is due be done."""
    world.clock.advance(seconds)
    async with world.database.writing() as tx:
        await agents.heard_in_term(tx, "a", world.terms["a"])
    await world.health_expiry()


async def fail_often(world: World, serial: str, times: int = 3) -> None:
    """Let runs fail one after the other, far enough apart to be nobody else's fault."""
    for _ in range(times):
        await fail(world, serial)
        await rest(world)


async def seen(world: World, serial: str = "p1") -> PhoneView:
    """Return the phone."""
    (view,) = [v for v in await world.phone_admin.all() if v.phone.phone_id == f"ph-{serial}"]
    return view


async def audit(world: World, subject: str = "ph-p1") -> list[Entry]:
    """Return what the controller did, oldest first."""
    entries, _ = await world.phone_query.audit(subject=subject, since=None, limit=100)
    return [entry for entry in reversed(entries) if entry.actor == "controller"]


async def test_three_failures_quarantine_a_phone_and_time_brings_it_back(world: World) -> None:
    """Both are in the audit, with a machine's reason and a person's sentence; work goes on then."""
    await fail_often(world, "p1")
    out = await seen(world)
    await world.accept(target=Target(routing=Routing.DIRECT, phone_id="ph-p1"))
    withheld = await world.claim(world.offers("a", "p1"))
    await rest(world, 1200)
    back = await seen(world)

    assert out.phone.health is Health.QUARANTINED
    assert out.phone.health_until is not None
    assert next((why.kind, why.moment) for why in out.blockers) == (
        "phone_quarantined",
        out.phone.health_until,
    )
    assert withheld == []
    assert back.phone.health is Health.SUSPECT
    assert len(await world.claim(world.offers("a", "p1"))) == 1
    first, second = await audit(world)
    assert (first.verb, second.verb) == ("quarantine", "end quarantine")
    assert first.reason.startswith("infra_failures: it failed 3 times within 600 s")
    assert "until 2026-01-01" in first.reason
    assert second.reason.startswith("quarantine_over: ")


async def test_each_engine_keeps_what_it_was_told(database_url: str) -> None:
    """Failures, a quarantine that ends by the database's clock, an incident of the host."""
    policy = HealthPolicy(cool_down=0, quarantine_first=0.3, host_quiet=0.3)
    async with world_on(database_url, health=policy) as world:
        await world.furnish("a", *SERIALS)
        for _ in range(3):
            await fail(world, "p1")
        out = (await seen(world)).phone
        async with asyncio.timeout(PATIENCE):
            while (await seen(world)).phone.health is Health.QUARANTINED:
                world.clock.advance(0.1)
                await world.health_expiry()
        await world.phone_admin.give_back("ph-p1", actor="test", reason="well")
        for serial in ("p2", "p3", "p4"):
            await fail(world, serial)
        (incident,) = (await world.phone_query.phone("ph-p1")).host.incidents
        async with asyncio.timeout(PATIENCE):
            while (await world.phone_query.phone("ph-p1")).host.incidents[0].ended_at is None:
                world.clock.advance(0.1)
                await world.health_expiry()

        assert (out.health, out.rounds) == (Health.QUARANTINED, 1)
        assert set(incident.phones) >= {"ph-p2", "ph-p3", "ph-p4"}
        assert [v.phone.health for v in await world.phone_admin.all()] == [Health.GOOD] * 4


async def test_a_failing_plan_quarantines_no_phone(world: World) -> None:
    """However often it fails; nor do an account or what agent and host are to blame for."""
    for code, failure_class in (
        ("selector_not_found", FailureClass.WORK),
        ("run_timeout", FailureClass.WORK),
        ("action_timeout", FailureClass.WORK),
        ("agent_fenced", FailureClass.INFRA),
        ("runtime_failed", FailureClass.INFRA),
        ("host_storage_full", FailureClass.INFRA),
        ("asset_unreachable", FailureClass.INFRA),
    ):
        await fail(world, "p1", code, failure_class)

    phone = (await seen(world)).phone
    assert (phone.health, phone.cooling_until) == (Health.GOOD, None)


async def test_refusals_and_late_starts_are_set_up_failures(world: World) -> None:
    """A phone on which nothing begins is as bad as one on which everything breaks."""
    for reason in ("phone_silent", "phone_failed:closed"):
        await claim(world, "p1")
        await world.tell(world.assignments["p1"], 1, RunRefused(reason=reason), CLEAN)
        await rest(world)
    refused = await seen(world)
    lease_id = await claim(world, "p1")
    await world.lease_expiry.void(lease_id)
    await world.tell(world.assignments["p1"], 1, RunRefused(reason="stopped"), CLEAN)
    details = await world.phone_query.phone("ph-p1")

    assert refused.phone.health is Health.SUSPECT
    assert details.view.phone.health is Health.QUARANTINED
    assert [(each.blame, each.code) for each in details.failures] == [
        ("set_up", "start_timed_out"),
        ("set_up", "phone_failed"),
        ("set_up", "phone_silent"),
    ]


async def test_a_probe_that_failed_meanwhile_is_no_failure(world: World) -> None:
    """The agent says on readiness what the phone lacks."""
    await claim(world, "p1")
    refusal = RunRefused(reason="phone_not_fit:battery 3 %")
    await world.tell(world.assignments["p1"], 1, refusal, CLEAN)

    assert (await seen(world)).phone.health is Health.GOOD


async def test_a_phone_rests_after_a_failure(world: World) -> None:
    """For half a minute it is given nothing: it cannot drain the queue."""
    await fail(world, "p1")
    await world.accept(target=Target(routing=Routing.DIRECT, phone_id="ph-p1"))
    due = await world.health_expiry()

    at_once = await world.claim(world.offers("a", "p1"))
    resting = await seen(world)
    await rest(world, 30.1)
    later = await world.claim(world.offers("a", "p1"))

    assert due is not None
    assert 29 < due <= 30
    assert at_once == []
    assert [str(why.kind) for why in resting.blockers if why.moment] == ["phone_cooling_down"]
    assert len(later) == 1


async def test_one_run_is_charged_once(world: World) -> None:
    """A run that fails and leaves its phone dirty, and tells so twice, is one failure."""
    await claim(world, "p1")
    assignment = world.assignments["p1"]
    await world.begin(assignment)
    lost = Failure(code="phone_lost", message="", failure_class=FailureClass.INFRA)
    ended = RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=1)
    unclean = PhoneReleased(clean=False, reason="no answer", residue=())
    for _ in range(2):
        await world.tell(assignment, 1, ended, unclean)

    details = await world.phone_query.phone("ph-p1")

    assert [each.code for each in details.failures] == ["phone_lost"]
    assert details.view.phone.health_reason == "dirty: no answer"
    assert details.view.phone.health_until is None
    assert [each.phone_id for each in await world.phone_query.needs_hands()] == ["ph-p1"]


async def test_a_dirty_phone_proved_clean_is_watched(world: World) -> None:
    """An agent that was silent, and failed at nothing, has its phone back as good as before."""
    lease_id = await claim(world, "p1")
    await world.begin(world.assignments["p1"])
    await world.lease_expiry.expire(lease_id, renewals=0)
    dirty = await seen(world)
    await rest(world, 1)
    await world.tell(world.assignments["p1"], 1, CLEAN)
    clean = await seen(world)

    assert dirty.phone.health_reason == "dirty: lease expired"
    assert (clean.phone.health, clean.phone.cooling_until) == (Health.GOOD, None)
    assert [entry.verb for entry in await audit(world)] == ["quarantine", "end quarantine"]


async def test_three_phones_of_a_host_that_fail_together_are_one_incident(world: World) -> None:
    """Nobody is quarantined, what was charged a moment ago is taken back, and it ends by itself."""
    await fail_often(world, "p1", times=2)
    for serial in ("p1", "p2", "p3"):
        await fail(world, serial)
    hit = [await seen(world, serial) for serial in SERIALS]
    details = await world.phone_query.phone("ph-p1")
    await fail(world, "p4")
    frozen = await seen(world, "p4")
    await rest(world, 121)
    over = (await world.phone_query.phone("ph-p1")).host.incidents

    assert [view.phone.health for view in hit] == [
        Health.SUSPECT,
        Health.GOOD,
        Health.GOOD,
        Health.GOOD,
    ]
    assert [incident.kind for incident in details.host.incidents] == ["phones_failing"]
    assert details.host.incidents[0].ended_at is None
    assert frozen.phone.health is Health.GOOD
    assert frozen.phone.cooling_until is not None
    assert [incident.phones for incident in over] == [("ph-p1", "ph-p2", "ph-p3", "ph-p4")]
    assert over[0].ended_at is not None
    assert [entry.verb for entry in await audit(world, "a")] == [
        "host incident",
        "end host incident",
    ]


async def test_bad_phones_do_not_hide_behind_their_host_for_ever(world: World) -> None:
    """After ten minutes of an incident that nothing ended failures count again."""
    for _ in range(20):
        for serial in ("p1", "p2", "p3"):
            await fail(world, serial)
        await rest(world)
    during = [(await seen(world, serial)).phone.health for serial in ("p1", "p2", "p3")]
    for _ in range(3):
        for serial in ("p1", "p2", "p3"):
            await fail(world, serial)
        await rest(world)
    after = [(await seen(world, serial)).phone.health for serial in ("p1", "p2", "p3")]

    assert Health.QUARANTINED not in during
    assert after == [Health.QUARANTINED] * 3


async def test_a_lost_agent_is_no_fault_of_its_phones(world: World) -> None:
    """What its silence breaks is kept, and counts against none of them."""
    for _ in range(4):
        lease_id = await claim(world, "p1")
        world.clock.advance(46)
        await world.lease_expiry.void(lease_id)
        await world.tell(world.assignments["p1"], 1, RunRefused(reason="late"), CLEAN)
        await rest(world)

    details = await world.phone_query.phone("ph-p1")
    assert details.view.phone.health is Health.GOOD
    assert [each.counts for each in details.failures] == [False] * 4


async def test_a_return_forgets_the_past(world: World) -> None:
    """Somebody has looked at it: the next failure is the first one, the rounds begin anew."""
    await fail_often(world, "p1")
    await world.phone_admin.give_back("ph-p1", actor="ada", reason="a new cable")
    back = await world.phone_query.phone("ph-p1")
    await fail(world, "p1")
    failed = await seen(world)

    assert failed.phone.health_reason == (
        "infra_failure: it failed once recently, the last time with adb_failed"
    )
    health = next(axis for axis in back.axes if axis.axis == "health")
    assert (health.value, health.by) == ("good", "operator:ada")
    assert (back.view.phone.rounds, back.view.phone.health_until) == (0, None)


async def test_the_last_of_its_kind_is_told_of(world: World) -> None:
    """Quarantine does not wait for it, but says so; an operator hears it in the answer."""
    await world.group_admin.put("phone", "rack", ["ph-p1", "ph-p2"], actor="test")
    other = await world.phone_admin.maintain("ph-p2", actor="ada", reason="battery")
    await fail_often(world, "p1")
    last = await world.phone_admin.retire("ph-p3", actor="ada", reason="sold")
    very_last = await world.drain.phone("ph-p4", actor="ada", reason="battery")
    axes = (await world.phone_query.phone("ph-p4")).axes

    (entry,) = await audit(world)
    assert [(a.value, a.by) for a in axes if a.axis == "intent"] == [("draining", "operator:ada")]
    assert other.warnings == ()
    assert entry.reason.endswith("ph-p1 is the last phone in service of the phone group rack")
    assert last.warnings == ()
    assert very_last.warnings == (
        "ph-p4 is the last phone in service with an account of shortvideo",
    )
