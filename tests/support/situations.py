"""Situations in which work waits, and what must be told of each."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import Readiness, RunOutcome, Transport
from phonefarm_controller.agents.inventory import ReportedHost
from phonefarm_controller.agents.offers import offers_here
from phonefarm_controller.agents.sessions import Session
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.limits import LimitKind, LimitScope
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.phone_reports import HostReport, PhoneReport
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.model.states import Condition, Health, Intent
from phonefarm_controller.model.windows import WindowScope
from phonefarm_controller.store import accounts, phones
from support.world import World, seen_phone

FAR = datetime(2100, 1, 1, tzinfo=UTC)
ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)
IN_RACK = Target(routing=Routing.QUEUE, phone_group="rack")


def connect(world: World, agent_id: str) -> None:
    """Open the agent's session."""
    world.sessions.enter(Session(agent_id=agent_id, term=world.terms[agent_id], incarnation=1))


def offer(world: World, *serials: str, agent_id: str = "a") -> None:
    """Let the agent offer these phones and no other."""
    session = world.sessions.of(agent_id)
    assert session is not None
    number = session.offer_number + 1
    world.sessions.offer(session, number, [f"ph-{serial}" for serial in serials])


async def change_phone(world: World, phone_id: str, **changes: Any) -> None:
    """Write the phone as it shall be."""
    async with world.database.writing() as tx:
        known = await phones.lock(tx, {phone_id})
        await phones.save(tx, [replace(known[phone_id], **changes)])
    world.wakeups.fleet_changed()


async def put_group(world: World, *members: str) -> None:
    """Make these the phones of the group `rack`."""
    await world.group_admin.put("phone", "rack", members, actor="test")


async def claim_offered(world: World) -> list[str]:
    """Claim for everything offered; return the processes."""
    return [each.process_id for each in await world.claim(offers_here(world.sessions))]


def be_thursday(world: World) -> None:
    """Let the database's clock be the test's own, on every engine."""
    world.database._now = world.clock.now


async def occupy(world: World, serial: str = "p1") -> str:
    """Let a process take the phone; return it."""
    target = Target(routing=Routing.DIRECT, phone_id=f"ph-{serial}")
    process_id = await world.accept(target=target, priority=9)
    assert len(await world.claim(world.offers("a", serial))) == 1
    offer(world, *({"p1", "p2"} - {serial}))
    return process_id


async def bound(world: World) -> str:
    """Ask for work on ph-p1."""
    return await world.accept(target=ON_P1)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must be told of the one item that waits."""

    process_id: str
    reasons: Mapping[str, int]
    phones: tuple[tuple[str, str, str], ...] = ()  # (phone, reason, detail)
    remedies: tuple[str, ...] = ()  # words of the remedies
    ahead: int = 0


Situation = Callable[[World], Awaitable[Expected]]
SITUATIONS: dict[str, Situation] = {}


def situation(arrange: Situation) -> Situation:
    """Take it into the table."""
    SITUATIONS[arrange.__name__] = arrange
    return arrange


@situation
async def paused(world: World) -> Expected:
    """Hold back a whole kind of work."""
    process_id = await bound(world)
    await world.pauses.pause(
        PauseScope.CAPABILITY, "keyword_warmup", actor="ada", reason="looks wrong"
    )
    return Expected(
        process_id=process_id,
        reasons={"paused": 1},
        remedies=("by ada: looks wrong", "`phonefarm resume --capability keyword_warmup`"),
    )


@situation
async def paused_for_the_only_account(world: World) -> Expected:
    """For work on any phone of a rack, whose only account rests."""
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    await world.pauses.pause(PauseScope.ACCOUNT, "acc-p1", actor="ada", reason="it travels")
    return Expected(
        process_id=process_id,
        reasons={"paused": 1},
        phones=(("ph-p1", "paused", "account acc-p1, by ada: it travels"),),
        remedies=("`phonefarm resume --account acc-p1`",),
    )


WINDOW: dict[str, Any] = {
    "zone": "UTC",
    "spans": ["mon 00:00-00:01"],
    "may_overrun": True,
    "actor": "ada",
    "reason": "it sleeps",
}


@situation
async def outside_window(world: World) -> Expected:
    """Until Monday; that its phone is busy now says nothing."""
    be_thursday(world)
    process_id = await bound(world)
    await occupy(world)
    await world.windows.put(WindowScope.ACCOUNT, "acc-p1", **WINDOW)
    return Expected(
        process_id=process_id,
        reasons={"outside_window": 1},
        remedies=("the work may begin at ", "(account acc-p1: mon 00:00-00:01 UTC)"),
    )


@situation
async def outside_the_windows_of_the_phones(world: World) -> Expected:
    """Of the phone and its group, for work that any phone of the group may do."""
    be_thursday(world)
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    await world.windows.put(WindowScope.PHONE, "ph-p1", **WINDOW)
    await world.windows.put(WindowScope.GROUP, "rack", **WINDOW)
    told = "group rack: mon 00:00-00:01 UTC; phone ph-p1: mon 00:00-00:01 UTC"
    return Expected(
        process_id=process_id,
        reasons={"outside_window": 1},
        phones=(("ph-p1", "outside_window", told),),
    )


@situation
async def outside_the_window_of_the_only_account(world: World) -> Expected:
    """For work that names no account; its capability has a window that is open."""
    be_thursday(world)
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    always = WINDOW | {"spans": ["daily 00:00-24:00"]}
    await world.windows.put(WindowScope.ACCOUNT, "acc-p1", **WINDOW)
    await world.windows.put(WindowScope.CAPABILITY, "keyword_warmup", **always)
    return Expected(
        process_id=process_id,
        reasons={"outside_window": 1},
        phones=(("ph-p1", "outside_window", "account acc-p1: mon 00:00-00:01 UTC"),),
    )


@situation
async def no_window_is_long_enough(world: World) -> Expected:
    """Let the window be shorter than the run's limit of time."""
    be_thursday(world)
    process_id = await bound(world)
    await world.windows.put(
        WindowScope.CAPABILITY, "keyword_warmup", **(WINDOW | {"may_overrun": False})
    )
    return Expected(
        process_id=process_id,
        reasons={"outside_window": 1},
        remedies=("no window of the next five weeks is long enough", "mon 00:00-00:01 UTC"),
    )


LIMIT: dict[str, Any] = {"actor": "ada", "reason": "as agreed"}


@situation
async def limit_reached(world: World) -> Expected:
    """Until midnight in the limit's zone; that its phone is busy now says nothing."""
    be_thursday(world)
    process_id = await bound(world)
    await world.limits.put(
        LimitKind.RUNS_PER_DAY, LimitScope.EVERY_ACCOUNT, "", value=1, zone="UTC", **LIMIT
    )
    await world.accept(target=ON_P1, priority=9)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    return Expected(
        process_id=process_id,
        reasons={"limit_reached": 1},
        remedies=("the work may begin at ", "(every account: at most 1 a day, UTC)"),
    )


@situation
async def group_at_its_limit(world: World) -> Expected:
    """Another phone of the rack is at work."""
    await put_group(world, "ph-p1", "ph-p2")
    await occupy(world, "p2")
    process_id = await bound(world)
    await world.limits.put(
        LimitKind.RUNS_AT_ONCE, LimitScope.GROUP, "rack", value=1, zone="", **LIMIT
    )
    return Expected(
        process_id=process_id,
        reasons={"limit_reached": 1},
        phones=(("ph-p1", "limit_reached", "group rack: at most 1 at once"),),
        remedies=("wait until other runs end", "`phonefarm limits list`"),
    )


@situation
async def app_at_its_limit(world: World) -> Expected:
    """On whichever phone."""
    await occupy(world, "p2")
    process_id = await bound(world)
    await world.limits.put(
        LimitKind.RUNS_AT_ONCE, LimitScope.APP, "shortvideo", value=1, zone="", **LIMIT
    )
    return Expected(
        process_id=process_id,
        reasons={"limit_reached": 1},
        remedies=("(app shortvideo: at most 1 at once)",),
    )


@situation
async def not_due(world: World) -> Expected:
    """Asked for later; that its phone is busy now says nothing."""
    await occupy(world)
    process_id = await world.accept(target=ON_P1, not_before=FAR)
    return Expected(
        process_id=process_id, reasons={"not_due": 1}, remedies=("2100-01-01T00:00:00.000Z",)
    )


@situation
async def not_due_and_retired(world: World) -> Expected:
    """Retire the phone of work for later: what lasts is told all the same."""
    process_id = await world.accept(target=ON_P1, not_before=FAR)
    await change_phone(world, "ph-p1", health=Health.RETIRED)
    return Expected(
        process_id=process_id,
        reasons={"not_due": 1, "phone_retired": 1},
        phones=(("ph-p1", "phone_retired", ""),),
    )


@situation
async def backing_off(world: World) -> Expected:
    """Let an attempt fail; the next one has its moment."""
    process_id = await bound(world)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    lost = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)
    await world.tell(
        assignment,
        1,
        RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=1),
        PhoneReleased(clean=True, reason="", residue=()),
    )
    return Expected(
        process_id=process_id, reasons={"backing_off": 1}, remedies=("the farm tries again",)
    )


@situation
async def phone_busy(world: World) -> Expected:
    """Another process is at work there."""
    other = await occupy(world)
    return Expected(
        process_id=await bound(world),
        reasons={"phone_busy": 1},
        phones=(("ph-p1", "phone_busy", f"process {other}"),),
        remedies=(f"phonefarm processes cancel {other}",),
    )


@situation
async def phone_busy_and_others_wait(world: World) -> Expected:
    """Another process is at work there, and a third comes before."""
    other = await occupy(world)
    await world.accept(target=ON_P1, priority=6)
    return Expected(
        process_id=await bound(world),
        reasons={"phone_busy": 1, "behind_others": 1},
        phones=(("ph-p1", "phone_busy", f"process {other}"), ("ph-p1", "behind_others", "")),
        ahead=1,
    )


@situation
async def phone_being_cleaned(world: World) -> Expected:
    """End the process before; its phone is not clean yet."""
    other = await bound(world)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    await world.tell(assignment, 1, RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0))
    offer(world, "p2")
    return Expected(
        process_id=await bound(world),
        reasons={"phone_busy": 1},
        phones=(("ph-p1", "phone_busy", f"process {other}, releasing"),),
        remedies=("wait until ph-p1 is clean",),
    )


@situation
async def phone_dirty(world: World) -> Expected:
    """Let nobody clean it: it is quarantined, and that alone is told."""
    await bound(world)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    ended = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    dirty = PhoneReleased(clean=False, reason="stuck", residue=())
    await world.tell(assignment, 1, ended, dirty)
    offer(world, "p2")
    process_id = await bound(world)
    return Expected(
        process_id=process_id,
        reasons={"phone_quarantined": 1},
        phones=(("ph-p1", "phone_quarantined", "dirty: stuck"),),
        remedies=("phonefarm phones return ph-p1 --reason",),
    )


@situation
async def phone_offline(world: World) -> Expected:
    """Let the agent be there and not see it."""
    process_id = await bound(world)
    gone = seen_phone("p1", transport=Transport.UNAUTHORIZED)
    await world.inventory("a", world.terms["a"], [gone, seen_phone("p2")])
    offer(world, "p2")
    return Expected(
        process_id=process_id,
        reasons={"phone_offline": 1},
        phones=(("ph-p1", "phone_offline", "unauthorized"),),
        remedies=("phonefarm phones list",),
    )


@situation
async def phone_unfit(world: World) -> Expected:
    """Let the agent say what it lacks."""
    process_id = await bound(world)
    ill = seen_phone("p1", readiness=Readiness.UNFIT, reason="storage full")
    await world.inventory("a", world.terms["a"], [ill, seen_phone("p2")])
    offer(world, "p2")
    return Expected(
        process_id=process_id,
        reasons={"phone_unfit": 1},
        phones=(("ph-p1", "phone_unfit", "unfit: storage full"),),
        remedies=("storage full",),
    )


@situation
async def phone_not_admitted(world: World) -> Expected:
    """Nobody has taken it into service."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", intent=Intent.NEW)
    return Expected(
        process_id=process_id,
        reasons={"phone_not_admitted": 1},
        phones=(("ph-p1", "phone_not_admitted", ""),),
        remedies=("`phonefarm phones admit ph-p1`",),
    )


@situation
async def phone_in_maintenance(world: World) -> Expected:
    """Somebody has taken it out of service."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", intent=Intent.MAINTENANCE)
    return Expected(
        process_id=process_id,
        reasons={"phone_in_maintenance": 1},
        phones=(("ph-p1", "phone_in_maintenance", ""),),
    )


@situation
async def phone_draining(world: World) -> Expected:
    """Let it become free and take nothing new."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", intent=Intent.DRAINING)
    return Expected(
        process_id=process_id,
        reasons={"phone_draining": 1},
        phones=(("ph-p1", "phone_draining", ""),),
    )


@situation
async def agent_draining(world: World) -> Expected:
    """Empty its whole host."""
    process_id = await bound(world)
    await world.drain.agent("a", actor="ada", reason="a new kernel")
    return Expected(
        process_id=process_id,
        reasons={"agent_draining": 1},
        phones=(("ph-p1", "agent_draining", "a, by ada: a new kernel"),),
        remedies=("`phonefarm agents undrain a --reason TEXT`",),
    )


@situation
async def phone_quarantined(world: World) -> Expected:
    """Withhold it, and say why."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", health=Health.QUARANTINED, health_reason="dirty: x")
    return Expected(
        process_id=process_id,
        reasons={"phone_quarantined": 1},
        phones=(("ph-p1", "phone_quarantined", "dirty: x"),),
        remedies=("phonefarm phones return ph-p1 --reason",),
    )


@situation
async def phone_quarantined_for_a_while(world: World) -> Expected:
    """Let it come back by itself: when is told."""
    process_id = await bound(world)
    await change_phone(
        world,
        "ph-p1",
        health=Health.QUARANTINED,
        health_reason="infra_failures: it failed 3 times",
        health_until=FAR,
    )
    return Expected(
        process_id=process_id,
        reasons={"phone_quarantined": 1},
        phones=(("ph-p1", "phone_quarantined", "infra_failures: it failed 3 times"),),
        remedies=("at 2100-01-01T00:00:00.000Z", "phonefarm phones return ph-p1 --reason"),
    )


@situation
async def phone_cooling_down(world: World) -> Expected:
    """Let it rest after a failure."""
    process_id = await bound(world)
    rest = {"health_reason": "infra_failure: adb_failed", "cooling_until": FAR}
    await change_phone(world, "ph-p1", health=Health.SUSPECT, **rest)
    return Expected(
        process_id=process_id,
        reasons={"phone_cooling_down": 1},
        phones=(("ph-p1", "phone_cooling_down", "infra_failure: adb_failed"),),
        remedies=("until 2100-01-01T00:00:00.000Z",),
    )


@situation
async def host_incident(world: World) -> Expected:
    """Let the agent withhold everything it has."""
    process_id = await bound(world)
    host = ReportedHost(incarnation=1, report=HostReport(withheld="adb_down: no answer"))
    reports = [seen_phone("p1"), seen_phone("p2")]
    await world.inventory("a", world.terms["a"], reports, host=host)
    offer(world)
    return Expected(
        process_id=process_id,
        reasons={"host_incident": 1},
        phones=(("ph-p1", "host_incident", "adb_down: no answer"),),
        remedies=("the host of the agent a (adb_down: no answer)",),
    )


@situation
async def phone_needs_hands(world: World) -> Expected:
    """Let the agent ask for a person; what adb says is told as well."""
    process_id = await bound(world)
    ill = seen_phone(
        "p1",
        transport=Transport.UNAUTHORIZED,
        report=PhoneReport(needs_hands="allow debugging on its screen"),
    )
    await world.inventory("a", world.terms["a"], [ill, seen_phone("p2")])
    offer(world, "p2")
    return Expected(
        process_id=process_id,
        reasons={"phone_needs_hands": 1, "phone_offline": 1},
        phones=(
            ("ph-p1", "phone_needs_hands", "allow debugging on its screen"),
            ("ph-p1", "phone_offline", "unauthorized"),
        ),
        remedies=("go to ph-p1: allow debugging on its screen",),
    )


@situation
async def agent_disconnected(world: World) -> Expected:
    """No stream, no word of its phones: what it last saw is not told."""
    process_id = await bound(world)
    await change_phone(world, "ph-p1", readiness=Readiness.UNFIT)
    session = world.sessions.of("a")
    assert session is not None
    world.sessions.leave(session)
    return Expected(
        process_id=process_id,
        reasons={"agent_disconnected": 1},
        phones=(("ph-p1", "agent_disconnected", "a"),),
        remedies=("start the agent a",),
    )


@situation
async def not_offered(world: World) -> Expected:
    """Ready, and not on offer."""
    process_id = await bound(world)
    offer(world, "p2")
    return Expected(
        process_id=process_id,
        reasons={"not_offered": 1},
        phones=(("ph-p1", "not_offered", ""),),
        remedies=("next probe of ph-p1",),
    )


@situation
async def account_busy(world: World) -> Expected:
    """Its account acts on the phone that it was bound to before."""
    other = await occupy(world, "p2")
    await world.put_account("acc-p2", phone_id="ph-p1")
    process_id = await world.accept(target=Target(routing=Routing.DIRECT, account_id="acc-p2"))
    return Expected(
        process_id=process_id,
        reasons={"account_busy": 1},
        phones=(("ph-p1", "account_busy", f"acc-p2, by process {other} on ph-p2"),),
        remedies=(f"processes cancel {other}",),
    )


@situation
async def account_needs_attention(world: World) -> Expected:
    """Somebody must look at it."""
    process_id = await bound(world)
    async with world.database.writing() as tx:
        await accounts.needs_attention(tx, "acc-p1", reason="account_challenged")
    world.wakeups.fleet_changed()
    return Expected(
        process_id=process_id,
        reasons={"account_needs_attention": 1},
        phones=(("ph-p1", "account_needs_attention", "acc-p1: account_challenged"),),
        remedies=("`phonefarm accounts clear acc-p1 --reason TEXT`",),
    )


@situation
async def account_inactive(world: World) -> Expected:
    """Put its only account to sleep; of open work, for bound work ends at once."""
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    await world.put_account("acc-p1", phone_id="ph-p1", active=False)
    return Expected(
        process_id=process_id,
        reasons={"account_inactive": 1},
        phones=(("ph-p1", "account_inactive", "acc-p1"),),
        remedies=("phonefarm accounts put acc-p1",),
    )


@situation
async def account_elsewhere(world: World) -> Expected:
    """Bound to another phone since."""
    process_id = await bound(world)
    await world.put_account("acc-p1", phone_id="ph-p2")
    return Expected(
        process_id=process_id,
        reasons={"account_elsewhere": 1},
        phones=(("ph-p1", "account_elsewhere", "acc-p1 is on ph-p2"),),
        remedies=("--phone ph-p1",),
    )


@situation
async def account_ambiguous(world: World) -> Expected:
    """Several accounts, none named; they stay several while one cannot work."""
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    ill = Condition.NEEDS_ATTENTION
    await world.put_account("acc-p1b", phone_id="ph-p1", condition=ill)
    return Expected(
        process_id=process_id,
        reasons={"account_ambiguous": 1},
        phones=(("ph-p1", "account_ambiguous", "acc-p1, acc-p1b"),),
        remedies=("phonefarm accounts put acc-p1b --app shortvideo --phone ph-p1 --inactive`",),
    )


@situation
async def no_phone_in_group(world: World) -> Expected:
    """Empty the group."""
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    await put_group(world)
    return Expected(
        process_id=process_id,
        reasons={"no_phone_in_group": 1},
        remedies=("phonefarm groups put rack --phones",),
    )


@situation
async def no_phone_with_app(world: World) -> Expected:
    """No active account of the app is on any phone."""
    process_id = await world.accept()
    for serial in ("p1", "p2"):
        await world.put_account(f"acc-{serial}", phone_id=f"ph-{serial}", active=False)
    return Expected(
        process_id=process_id,
        reasons={"no_phone_with_app": 1},
        remedies=("phonefarm accounts put ACCOUNT --app shortvideo",),
    )


@situation
async def agent_too_old(world: World) -> Expected:
    """Have an agent of an older release offer the phone; the work needs no app."""
    await world.meet("a", "p1", "p2", runs_without_app=False)
    connect(world, "a")
    offer(world, "p1", "p2")
    process_id = await world.accept(capability="take_screenshot", inputs={}, target=ON_P1)
    return Expected(
        process_id=process_id,
        reasons={"agent_too_old": 1},
        phones=(("ph-p1", "agent_too_old", "a"),),
        remedies=("upgrade the agent a",),
    )


@situation
async def wrong_app(world: World) -> Expected:
    """Leave a phone of the group without an account of the app."""
    await put_group(world, "ph-p1")
    process_id = await world.accept(target=IN_RACK)
    await world.put_account("acc-p1", phone_id=None)
    return Expected(
        process_id=process_id,
        reasons={"wrong_app": 1},
        phones=(("ph-p1", "wrong_app", "the phone has no account of shortvideo"),),
    )


@situation
async def behind_others(world: World) -> Expected:
    """Let another item get the free phone."""
    await world.accept(target=ON_P1, priority=6)
    return Expected(
        process_id=await bound(world),
        reasons={"behind_others": 1},
        phones=(("ph-p1", "behind_others", ""),),
        remedies=("higher priority",),
        ahead=1,
    )


@situation
async def behind_open_work(world: World) -> Expected:
    """Let two open items come before and one bound one; two more hold nobody back."""
    for _ in range(2):
        await world.accept(priority=7)
    await world.accept(target=Target(routing=Routing.DIRECT, phone_id="ph-p2"), priority=6)
    await world.accept(target=ON_P1, priority=6, not_before=FAR)
    await world.put_account("moving", phone_id="ph-p2")
    await world.accept(target=Target(routing=Routing.DIRECT, account_id="moving"), priority=6)
    await world.put_account("moving", phone_id=None)
    return Expected(
        process_id=await world.accept(),
        reasons={"behind_others": 2},
        phones=(("ph-p1", "behind_others", ""), ("ph-p2", "behind_others", "")),
        ahead=3,
    )


@situation
async def behind_bound_work(world: World) -> Expected:
    """Let one item of the phone come before; another's account has moved away."""
    await world.put_account("moving", phone_id="ph-p1")
    await world.accept(target=Target(routing=Routing.DIRECT, account_id="moving"), priority=6)
    await world.put_account("moving", phone_id="ph-p2")
    await world.accept(target=ON_P1, priority=6)
    return Expected(
        process_id=await world.accept(target=Target(routing=Routing.DIRECT, account_id="acc-p1")),
        reasons={"behind_others": 1},
        phones=(("ph-p1", "behind_others", ""),),
        ahead=1,
    )


@situation
async def several_phones(world: World) -> Expected:
    """Each phone that it could use has its own reason, or two of them."""
    other = await occupy(world)
    process_id = await world.accept()
    await change_phone(world, "ph-p2", intent=Intent.MAINTENANCE, health=Health.RETIRED)
    return Expected(
        process_id=process_id,
        reasons={"phone_busy": 1, "phone_in_maintenance": 1, "phone_retired": 1},
        phones=(
            ("ph-p1", "phone_busy", f"process {other}"),
            ("ph-p2", "phone_retired", ""),
            ("ph-p2", "phone_in_maintenance", ""),
        ),
    )


@situation
async def storage_full(world: World) -> Expected:
    """Let the controller's disk have no room; a phone would be free."""
    process_id = await bound(world)
    world.disk_alarm.shortage = "5 MiB free, at least 1024 MiB are needed"
    return Expected(
        process_id=process_id,
        reasons={"storage_full": 1},
        remedies=("the controller's data disk", "by itself"),
    )
