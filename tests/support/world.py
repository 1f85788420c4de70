"""The controller's operations on a real database, without loops and wires; time is handed in."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from phonefarm_common.ids import PROTOCOL_VERSION, new_id
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import Readiness, Transport
from phonefarm_controller.agents.handshake import AgentHello, Handshake, HeldRun, Welcome
from phonefarm_controller.agents.inventory import Inventory, ReportedPhone
from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.agents.sessions import Sessions, SupersededError
from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.app.controller import store_app_profiles
from phonefarm_controller.callbacks.delivery import CallbackDelivery
from phonefarm_controller.callbacks.replay import Replay
from phonefarm_controller.capabilities.catalog import CAPABILITIES, Capability
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.accounts import AccountAdmin
from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.fleet.force_release import ForceRelease
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.hold import Hold
from phonefarm_controller.fleet.phone_details import PhoneQuery
from phonefarm_controller.fleet.phones import PhoneAdmin
from phonefarm_controller.health.expiry import HealthExpiry
from phonefarm_controller.health.golden_jobs import GoldenJobs
from phonefarm_controller.housekeeping.consistency import correct_status
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.plans import Action, Plan, Repeat
from phonefarm_controller.model.requests import Mode, Routing, Submission, Target
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import Assignment, Body, Report, RunRef
from phonefarm_controller.processes.account_snapshots import upsert_snapshot
from phonefarm_controller.processes.cancel import CancelProcess
from phonefarm_controller.processes.content import ContentIngest
from phonefarm_controller.processes.enqueue import Enqueue
from phonefarm_controller.processes.rerun import RerunProcess
from phonefarm_controller.processes.schedule_firing import ScheduleFiring
from phonefarm_controller.processes.schedules import Schedules
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.runs.desired_state import DesiredStateReader
from phonefarm_controller.runs.lease_expiry import LeaseExpiry
from phonefarm_controller.runs.lease_renewal import renew_leases
from phonefarm_controller.runs.report import Ack, RecordReports
from phonefarm_controller.runs.start_gate import StartAnswer, StartGate, StartRequest
from phonefarm_controller.runs.totals import RunTotals
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.due_items import DueItems
from phonefarm_controller.scheduler.explain import Explain
from phonefarm_controller.scheduler.fleet_cache import FleetCache
from phonefarm_controller.scheduler.limits import Limits
from phonefarm_controller.scheduler.pauses import Pauses
from phonefarm_controller.scheduler.windows import Windows
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.migrate import migrate
from support.prepared import prepare_sqlite

POST: Final = "post_once"
"""A capability of the tests: its action 1 must not happen twice."""


class VirtualClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self._passed = 0.0

    def now(self) -> datetime:
        """Return the wall clock."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        """Return seconds since the begin."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds


def _plan_post(inputs: Mapping[str, Any]) -> Plan:
    post = Action(kind="post", repeat=Repeat.ONCE)
    return Plan(actions=(Action(kind="launch_app"), post, Action(kind="stop_app")))


@contextmanager
def posting_allowed() -> Iterator[None]:
    """Know the capability POST while the block runs."""
    known = cast("dict[str, Capability]", CAPABILITIES)
    routings = frozenset(Routing)
    known[POST] = Capability(
        name=POST,
        routings=routings,
        can_be_verified=False,
        fields=CAPABILITIES["keyword_warmup"].fields,
        plan=_plan_post,
    )
    try:
        yield
    finally:
        del known[POST]


@dataclass
class World:
    """Every operation of one controller."""

    database: Database
    clock: VirtualClock
    policy: RetryPolicy
    profiles: dict[str, Any]
    timers: Timers = field(default_factory=Timers)
    wakeups: WakeUps = field(default_factory=WakeUps)
    disk_alarm: DiskAlarm = field(default_factory=DiskAlarm)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    golden_every: timedelta | None = None
    terms: dict[str, int] = field(default_factory=dict)  # by agent
    incarnations: dict[str, int] = field(default_factory=dict)
    assignments: dict[str, Assignment] = field(
        default_factory=dict
    )  # by serial, as tests keep them

    def __post_init__(self) -> None:
        """Wire the operations as the app does."""
        database, wakeups = self.database, self.wakeups
        self.sessions = Sessions(
            wakeups=wakeups, clock=self.clock, offer_lapses=self.timers.suspect
        )
        view = FleetCache(wakeups=wakeups, monotonic=self.clock.monotonic)
        self.builder = AssignmentBuilder(clean_up=view.clean_up)
        self.claim = Claim(
            database=database,
            fleet_cache=view,
            assignments=self.builder,
            disk_alarm=self.disk_alarm,
            timers=self.timers,
        )
        self.lease_expiry = LeaseExpiry(
            database=database,
            policy=self.policy,
            health=self.health,
            sessions=self.sessions,
            wakeups=wakeups,
            chance=lambda: 0.5,
        )
        self.release = ForceRelease(
            database=database,
            policy=self.policy,
            sessions=self.sessions,
            wakeups=wakeups,
            chance=lambda: 0.5,
        )
        self.inventory = Inventory(database=database, wakeups=wakeups)
        self.enqueue = Enqueue(
            database=database,
            profiles=self.profiles,
            policy=self.policy,
            wakeups=wakeups,
            disk_alarm=self.disk_alarm,
            dummy_allowed=True,
        )
        self.schedules = Schedules(database=database, enqueue=self.enqueue)
        self.fire_schedules = ScheduleFiring(
            database=database, enqueue=self.enqueue, disk_alarm=self.disk_alarm
        )
        self.start = StartGate(database=database, deliveries_made=wakeups.deliveries)
        self.take = RecordReports(
            totals=RunTotals(),
            database=database,
            policy=self.policy,
            health=self.health,
            wakeups=wakeups,
            sessions=self.sessions,
            chance=lambda: 0.5,
        )
        self.cancel = CancelProcess(
            database=database, sessions=self.sessions, wakeups=wakeups, timers=self.timers
        )
        self.content = ContentIngest(
            database=database,
            profiles=self.profiles,
            policy=self.policy,
            wakeups=wakeups,
            disk_alarm=self.disk_alarm,
        )
        self.upsert_snapshot = partial(upsert_snapshot, database)
        self.deliver = CallbackDelivery(
            database=database,
            wakeups=wakeups,
            time_scale=1.0,
            lease_seconds=self.timers.callback_lease,
            chance=lambda: 0.5,
        )
        self.replay = Replay(database=database, wakeups=wakeups)
        self.phone_admin = PhoneAdmin(database=database, sessions=self.sessions, wakeups=wakeups)
        self.account_admin = AccountAdmin(
            database=database, wakeups=wakeups, profiles=self.profiles
        )
        self.group_admin = GroupAdmin(database=database, wakeups=wakeups)
        self.rerun = RerunProcess(
            database=database,
            profiles=self.profiles,
            policy=self.policy,
            wakeups=wakeups,
            disk_alarm=self.disk_alarm,
        )
        self.hold = Hold(
            database=database,
            profiles=self.profiles,
            policy=self.policy,
            wakeups=wakeups,
            disk_alarm=self.disk_alarm,
            cancel=self.cancel,
        )
        self.drain = Drain(database=database, sessions=self.sessions, wakeups=wakeups)
        self.phone_query = PhoneQuery(database=database, sessions=self.sessions)
        self.pauses = Pauses(
            database=database, sessions=self.sessions, wakeups=wakeups, known_profiles=self.profiles
        )
        self.limits = Limits(database=database, wakeups=wakeups, apps=self.profiles)
        self.windows = Windows(database=database, wakeups=wakeups, max_wait=self.policy.max_wait)
        self.handshake = Handshake(database=database, inventory=self.inventory, time_scale=1.0)
        self.renew = partial(renew_leases, database)
        self.desire = DesiredStateReader(database=database, assignments=self.builder)
        self.explain = Explain(
            database=database, sessions=self.sessions, claim=self.claim, disk_alarm=self.disk_alarm
        )
        self.due_items = DueItems(database=database, wakeups=wakeups)
        self.golden_jobs = GoldenJobs(
            database=database,
            profiles=self.profiles,
            every=self.golden_every,
            wakeups=wakeups,
            monotonic=self.clock.monotonic,
        )
        self.health_expiry = HealthExpiry(
            database=database, policy=self.health, wakeups=wakeups, golden_jobs=self.golden_jobs
        )
        self.mend = partial(correct_status, database, wakeups)

    async def meet(
        self,
        agent_id: str,
        *serials: str,
        held: Sequence[HeldRun] = (),
        runtime: str = "process",
        runs_without_app: bool = True,
    ) -> Welcome:
        """Let the agent say hello with these phones, in a new life."""
        self.incarnations[agent_id] = self.incarnations.get(agent_id, 0) + 1
        greeted: Welcome = await self.handshake.connect(
            AgentHello(
                agent_id=agent_id,
                boot_id="boot",
                incarnation=self.incarnations[agent_id],
                protocol_version=PROTOCOL_VERSION,
                version="0",
                runtime=runtime,
                time_scale=1.0,
                phones=tuple(seen_phone(serial) for serial in serials),
                held=tuple(held),
                runs_without_app=runs_without_app,
            )
        )
        self.terms[agent_id] = greeted.term
        return greeted

    async def furnish(self, agent_id: str, *serials: str) -> None:
        """Meet the agent, admit its phones and give each one account `acc-<phone id>`."""
        await self.meet(agent_id, *serials)
        for serial in serials:
            await self.phone_admin.admit(f"ph-{serial}", actor="test")
            await self.put_account(f"acc-{serial}", phone_id=f"ph-{serial}")

    async def put_account(self, account_id: str, **changes: Any) -> None:
        """Put an active account of the app."""
        values: dict[str, Any] = {"phone_id": None, "app": "shortvideo", "active": True}
        account = Account(account_id=account_id, **(values | changes))
        await self.account_admin.put({"account": account}, actor="test")

    def offers(self, agent_id: str, *serials: str) -> list[OfferedPhone]:
        """Return the agent's offer of these phones, in its current term."""
        term = self.terms[agent_id]
        return [
            OfferedPhone(agent_id=agent_id, term=term, phone_id=f"ph-{serial}")
            for serial in serials
        ]

    async def accept(self, **changes: Any) -> str:
        """Enqueue one submission, a moment after the last; return its process, raise a refusal."""
        self.clock.advance(0.001)
        (answer,) = await self.enqueue([submission(**changes)])
        if isinstance(answer, Exception):
            raise answer
        return answer.process_id

    async def begin(self, assignment: Assignment) -> StartAnswer:
        """Bring the run to the start gate."""
        term = self.terms[assignment.agent_id]
        ask = StartRequest(
            agent_id=assignment.agent_id, term=term, run=assignment.run, container="box"
        )
        (answer,) = await self.start([ask])
        if isinstance(answer, SupersededError):
            return StartAnswer(run=assignment.run, stop="superseded")
        return answer

    async def tell(self, assignment: Assignment, sequence: int, *bodies: Body) -> list[Ack]:
        """Report records of the run, numbered from *sequence*, together."""
        acks = await self.take(
            [
                Report(
                    agent_id=assignment.agent_id,
                    term=self.terms[assignment.agent_id],
                    run=assignment.run,
                    sequence=sequence + place,
                    body=body,
                )
                for place, body in enumerate(bodies)
            ]
        )
        return [ack for ack in acks if not isinstance(ack, SupersededError)]


def seen_phone(serial: str, **changes: Any) -> ReportedPhone:
    """Return a phone that is fit; *changes* replace fields."""
    values: dict[str, Any] = {
        "serialno": serial,
        "adb_serial": f"127.0.0.1:{serial}",
        "transport": Transport.ONLINE,
        "readiness": Readiness.READY,
        "reason": "",
        "model": "",
        "android_release": "",
        "epoch": 0,
    }
    return ReportedPhone(**(values | changes))


def submission(**changes: Any) -> Submission:
    """Return a keyword_warmup for any phone, with a callback; *changes* replace fields."""
    values: dict[str, Any] = {
        "request_id": new_id(),
        "capability": "keyword_warmup",
        "mode": Mode.MANUAL,
        "target": Target(routing=Routing.QUEUE),
        "inputs": {"keywords": ["cats"], "videos_per_keyword": 1},
        "system": "tests",
        "user": None,
        "requested_by_metadata": "{}",
        "callback_url": "http://127.0.0.1:9/cb",
        "callback_metadata": "{}",
        "digest": "d",
        "target_json": "{}",
        "inputs_json": "{}",
    }
    return Submission(**(values | changes))


def moved_ref(run: RunRef, **changes: Any) -> RunRef:
    """Return a reference that differs in some part: one that must not be believed."""
    values = {name: getattr(run, name) for name in RunRef.__dataclass_fields__}
    return RunRef(**(values | changes))


@asynccontextmanager
async def world_on(
    url: str,
    *,
    policy: RetryPolicy | None = None,
    health: HealthPolicy | None = None,
    golden_every: timedelta | None = None,
    migrated: bool = False,
) -> AsyncIterator[World]:
    """Open the database and wire a controller's operations while the block runs."""
    clock = VirtualClock()
    if not migrated:
        prepare_sqlite(url)
    async with open_database(url, clock) as database:
        if not migrated:
            await migrate(database)
        profiles = await store_app_profiles(database, Path("/nonexistent"))
        yield World(
            database=database,
            clock=clock,
            policy=policy or RetryPolicy(),
            health=health or HealthPolicy(),
            golden_every=golden_every,
            profiles=profiles,
        )
