"""A whole controller: everything opened, wired, and closed in reverse."""

import asyncio
import importlib.metadata
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TypeVar

import structlog
from phonefarm_common.clock import Clock, SystemClock
from phonefarm_common.ids import new_id

from phonefarm_controller.agents.handshake import Greet, Part
from phonefarm_controller.agents.inventory import Inventory
from phonefarm_controller.agents.offers import PERIOD_SECONDS as SHOW_SECONDS
from phonefarm_controller.agents.offers import ShowOffers, showing
from phonefarm_controller.agents.sessions import Sessions, SupersededError
from phonefarm_controller.alarms.catalog import Limits
from phonefarm_controller.alarms.disk_alarm import Room
from phonefarm_controller.alarms.registry import Pulse, Vitals
from phonefarm_controller.app.listeners import doors, opened_authority, told
from phonefarm_controller.auth.api_keys import ApiKeys
from phonefarm_controller.auth.enrollment import Membership
from phonefarm_controller.callbacks.delivery import Deliver
from phonefarm_controller.callbacks.replay import Replay
from phonefarm_controller.capabilities.listing import Registry
from phonefarm_controller.cluster.leader_election import Body, Own, elected
from phonefarm_controller.cluster.notifier import QUIET_SECONDS, Herald
from phonefarm_controller.concurrency.batcher import Batcher
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.evidence.availability import PERIOD_SECONDS as CURATOR_SECONDS
from phonefarm_controller.evidence.availability import claim_evidence_place, curator
from phonefarm_controller.evidence.backends.backend import Place
from phonefarm_controller.evidence.backends.open import open_place
from phonefarm_controller.evidence.read import ReadEvidence
from phonefarm_controller.evidence.upload import KeepEvidence
from phonefarm_controller.fleet.accounts import AccountAdmin
from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.fleet.force_release import Release
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.hold import Hold
from phonefarm_controller.fleet.phone_details import Sheets
from phonefarm_controller.fleet.phones import PhoneAdmin
from phonefarm_controller.health.expiry import Heal
from phonefarm_controller.health.golden_jobs import LOOK_SECONDS, GoldenJobs
from phonefarm_controller.housekeeping.backup import Backup
from phonefarm_controller.housekeeping.consistency import PERIOD_SECONDS as AUDIT_SECONDS
from phonefarm_controller.housekeeping.consistency import Audit, Mend, auditor
from phonefarm_controller.housekeeping.disk_guard import PERIOD_SECONDS, storekeeper
from phonefarm_controller.housekeeping.retention import PERIOD_SECONDS as JANITOR_SECONDS
from phonefarm_controller.housekeeping.retention import Retire, janitor
from phonefarm_controller.housekeeping.stuck_transactions import PERIOD_SECONDS as USHER_SECONDS
from phonefarm_controller.housekeeping.stuck_transactions import usher
from phonefarm_controller.model.app_profiles import Profile, ProfileError, read_profile
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import Report
from phonefarm_controller.monitoring.doctor import Examine
from phonefarm_controller.monitoring.metrics import serving_metrics
from phonefarm_controller.monitoring.stall_detector import Look, Sentry
from phonefarm_controller.monitoring.watchdog import watchman
from phonefarm_controller.processes.account_snapshots import UpsertSnapshot
from phonefarm_controller.processes.cancel import Cancel
from phonefarm_controller.processes.content import CancelContent, Ingest
from phonefarm_controller.processes.enqueue import Enqueue
from phonefarm_controller.processes.query import Read, Timeline
from phonefarm_controller.processes.rerun import Reruns
from phonefarm_controller.processes.verification import Prove
from phonefarm_controller.processes.watch import Watching, lookout
from phonefarm_controller.rpc.access_service import AccessEdge
from phonefarm_controller.rpc.agent_service import AgentEdge
from phonefarm_controller.rpc.auth import Keys
from phonefarm_controller.rpc.callback_service import CallbackEdge
from phonefarm_controller.rpc.content_service import ContentEdge
from phonefarm_controller.rpc.doctor_service import DoctorEdge
from phonefarm_controller.rpc.fleet_service import FleetEdge
from phonefarm_controller.rpc.inspect_service import InspectEdge
from phonefarm_controller.rpc.join_service import JoinEdge, MemberEdge
from phonefarm_controller.rpc.operator_service import HandsEdge
from phonefarm_controller.rpc.process_service import ProcessEdge
from phonefarm_controller.rpc.server import Ports, Services, serving
from phonefarm_controller.rpc.verification_service import ProvingEdge
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.runs.desired_state import Desire
from phonefarm_controller.runs.lease_expiry import Reap
from phonefarm_controller.runs.lease_reaper import Reaper, Watch
from phonefarm_controller.runs.lease_renewal import Renew
from phonefarm_controller.runs.report import Ack, TakeReports
from phonefarm_controller.runs.start_gate import Start, StartAnswer, StartAsk
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.dispatcher import POLL_SECONDS, pump
from phonefarm_controller.scheduler.due_items import Wind
from phonefarm_controller.scheduler.explain import Explain
from phonefarm_controller.scheduler.fleet_cache import FleetView
from phonefarm_controller.scheduler.pauses import Halt, Pausing
from phonefarm_controller.scheduler.ticker import clockwork
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.app_profiles import keep_profile
from phonefarm_controller.store.database import Database, open_database
from phonefarm_controller.store.loop_leases import Tenure
from phonefarm_controller.store.migrate import migrate
from phonefarm_controller.store.notify import reaches_others

log = structlog.get_logger()

_Answer = TypeVar("_Answer")
ENQUEUE_BATCH = 100
AGENT_BATCH = 100
BATCH_SECONDS = 5.0
"""How long a batch may take, for the watchdog: it stands for a period."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A running controller."""

    port: int
    database: Database
    tls_port: int = 0
    mtls_port: int = 0
    """0 without doors for other hosts."""
    metrics_port: int = 0
    """0 without metrics."""


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Controller]:
    """Run a controller while the block runs; everything is closed, in reverse, on the way out."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database_url, clock))
        await migrate(database)
        place = open_place(settings.evidence_place, scratch=settings.data / "uploads")
        await claim_evidence_place(
            database,
            place,
            farm_id=settings.farm_id,
            shared=reaches_others(settings.database_url),
        )
        profiles = await _keep_profiles(database, settings.data / "profiles")
        wired = _wired(settings, clock, database, place, profiles)
        ports, metrics_port = await stack.enter_async_context(wired)
        log.info(
            "controller.ready",
            port=ports.plain,
            tls_port=ports.tls,
            mtls_port=ports.mtls,
            database=settings.database_url.split("@")[-1],
        )
        yield Controller(
            port=ports.plain,
            database=database,
            tls_port=ports.tls,
            mtls_port=ports.mtls,
            metrics_port=metrics_port,
        )


@asynccontextmanager
async def _wired(
    settings: Settings,
    clock: Clock,
    database: Database,
    place: Place,
    profiles: dict[str, Profile],
) -> AsyncIterator[tuple[Ports, int]]:
    timers = settings.timers
    authority = await opened_authority(settings, database)
    ports: Ports | None = None
    policy = RetryPolicy().scaled(settings.time_scale)
    health = HealthPolicy().scaled(settings.time_scale)
    several = reaches_others(settings.database_url)
    hints = Hints(alone=not several)
    database.tell_moves(hints.processes_moved)
    room = Room()
    vitals = Vitals()
    limits = settings.limits or Limits().scaled(settings.time_scale)
    sessions = Sessions(hints=hints, clock=clock, offer_lapses=timers.suspect)
    fleet_view = FleetView(hints=hints, monotonic=clock.monotonic)
    assignments = AssignmentBuilder(clean_up=fleet_view.clean_up)
    claim = Claim(
        database=database,
        fleet_view=fleet_view,
        assignments=assignments,
        room=room,
        timers=timers,
    )
    reap = Reap(database=database, policy=policy, health=health, sessions=sessions, hints=hints)
    inventory = Inventory(database=database, hints=hints)
    enqueue = Batcher(
        Enqueue(
            database=database,
            profiles=profiles,
            policy=policy,
            hints=hints,
            room=room,
            dummy_allowed=not settings.production,
        ),
        most=ENQUEUE_BATCH,
    )
    starts = Batcher(
        _grouped_starts(Start(database=database, deliveries_made=hints.deliveries)),
        most=AGENT_BATCH,
    )
    reports = Batcher(
        _grouped_reports(
            TakeReports(
                database=database, policy=policy, health=health, hints=hints, sessions=sessions
            )
        ),
        most=AGENT_BATCH,
    )
    api_keys = ApiKeys(database=database, monotonic=clock.monotonic)
    membership = Membership(
        database=database,
        sessions=sessions,
        authority=authority,
        doors=lambda: None if ports is None else told(settings, ports),
        life=settings.certificate_life,
    )
    keys = Keys(
        ingest_secret=settings.ingest_secret,
        agent_token=settings.agent_token,
        gateway_token=settings.gateway_token,
        api_keys=api_keys,
        membership=membership,
    )
    cancel = Cancel(database=database, sessions=sessions, hints=hints, timers=timers)
    deliver = Deliver(
        database=database,
        hints=hints,
        time_scale=settings.time_scale,
        lease_seconds=timers.callback_lease,
    )
    pausing = Pausing(database=database, hints=hints, known_profiles=profiles)
    halt = Halt(database=database, sessions=sessions, hints=hints)
    hands = HandsEdge(
        keys=keys,
        release=Release(database=database, policy=policy, sessions=sessions, hints=hints),
        drain=Drain(database=database, hints=hints),
        hold=Hold(
            database=database,
            profiles=profiles,
            policy=policy,
            hints=hints,
            room=room,
            cancel=cancel,
        ),
        backup=Backup(database=database, data=settings.data),
        reruns=Reruns(database=database, profiles=profiles, policy=policy, hints=hints, room=room),
    )
    content = ContentEdge(
        keys=keys,
        ingest=Ingest(database=database, profiles=profiles, policy=policy, hints=hints, room=room),
        cancel_content=CancelContent(database=database, hints=hints),
        upsert_snapshot=UpsertSnapshot(database=database),
    )
    prove = Prove(
        database=database,
        profiles=profiles,
        policy=policy,
        hints=hints,
        room=room,
        dummy_allowed=not settings.production,
    )
    read = Read(database=database)
    watching = Watching(database=database, hints=hints)
    inspect = InspectEdge(
        keys=keys,
        replay=Replay(database=database, hints=hints),
        read=read,
        timeline=Timeline(database=database),
        watching=watching,
        explain=Explain(database=database, sessions=sessions, claim=claim, room=room),
        evidence=ReadEvidence(database=database, place=place, vitals=vitals),
        registry=Registry(
            database=database, profiles=profiles, dummy_allowed=not settings.production
        ),
    )
    agents = AgentEdge(
        keys=keys,
        farm_id=settings.farm_id,
        timers=timers,
        sessions=sessions,
        greet=Greet(database=database, inventory=inventory, time_scale=settings.time_scale),
        part=Part(database=database),
        inventory=inventory,
        renew=Renew(database=database),
        reap=reap,
        desire=Desire(database=database, assignments=assignments),
        start=starts,
        report=reports,
        keep_evidence=KeepEvidence(database=database, place=place, vitals=vitals),
    )
    reaper = Reaper(watch=Watch(database=database), reap=reap, timers=timers, clock=clock)
    wind = Wind(database=database, hints=hints)
    golden = GoldenJobs(
        database=database,
        profiles=profiles,
        every=settings.golden_every,
        hints=hints,
        monotonic=clock.monotonic,
        look=LOOK_SECONDS * settings.time_scale,
    )
    heal = Heal(database=database, policy=health, hints=hints, golden=golden)
    mend = Mend(database=database, hints=hints)
    retire = Retire(database=database, place=place, keep=settings.keep)
    sentry = Sentry(
        look=Look(database=database, claim=claim), sessions=sessions, vitals=vitals, limits=limits
    )
    storekeeping, cleaning, looking = (
        period * settings.time_scale
        for period in (PERIOD_SECONDS, JANITOR_SECONDS, CURATOR_SECONDS)
    )
    pulse = vitals.pulse
    loops = {
        "enqueue": enqueue.run(pulse("enqueue", period=BATCH_SECONDS)),
        "starts": starts.run(pulse("starts", period=BATCH_SECONDS)),
        "reports": reports.run(pulse("reports", period=BATCH_SECONDS)),
        "pump": pump(
            claim=claim,
            sessions=sessions,
            hints=hints,
            pulse=pulse("pump", period=POLL_SECONDS),
        ),
        "reaper": reaper.run(pulse("reaper", period=timers.reap)),
        "lookout": lookout(
            watching=watching, hints=hints, pulse=pulse("lookout", period=POLL_SECONDS)
        ),
        "sentry": sentry.run(pulse("sentry", period=limits.look)),
        "storekeeper": storekeeper(
            data=settings.data,
            room=room,
            hints=hints,
            least=settings.least_free,
            reserve=settings.reserve,
            period=storekeeping,
            pulse=pulse("storekeeper", period=storekeeping),
        ),
        "janitor": janitor(
            place=place,
            retire=retire,
            period=cleaning,
            pulse=pulse("janitor", period=cleaning),
        ),
        "curator": curator(
            place=place,
            farm_id=settings.farm_id,
            vitals=vitals,
            period=looking,
            pulse=pulse("curator", period=looking),
        ),
    }
    for_all = {
        "clockwork": (
            partial(
                clockwork,
                wind=wind,
                heal=heal,
                golden=golden,
                hints=hints,
                poll_seconds=timers.reap,
            ),
            pulse("clockwork", period=timers.reap),
        ),
        "auditor": (
            partial(auditor, audit=Audit(database=database), mend=mend),
            pulse("auditor", period=AUDIT_SECONDS),
        ),
    }
    own = Own(database=database, owner=f"{socket.gethostname()}:{os.getpid()}:{new_id()[:8]}")
    for name, (loop, its_pulse) in for_all.items():
        body: Body = partial(_while_ours, loop, its_pulse)
        voting = pulse(f"election of {name}", period=timers.loop_beat)
        loops[name] = (
            elected(name, body, own=own, timers=timers, clock=clock, pulse=voting)
            if several
            else body(None)
        )
    if several:
        loops["usher"] = usher(database=database, pulse=pulse("usher", period=USHER_SECONDS))
        loops["showing"] = showing(
            show=ShowOffers(database=database),
            sessions=sessions,
            pulse=pulse("showing", period=SHOW_SECONDS),
        )
        herald = Herald(
            url=settings.database_url,
            hints=hints,
            sessions=sessions,
            vitals=vitals,
            limits=limits,
        )
        loops["herald"] = herald.run(pulse("herald", period=QUIET_SECONDS))
    examine = Examine(
        database=database,
        sessions=sessions,
        vitals=vitals,
        room=room,
        clock=clock,
        version=importlib.metadata.version("phonefarm"),
        certificate_life=settings.certificate_life,
        alone=not several,
    )
    async with (
        serving_metrics(
            settings.metrics, vitals=vitals, sessions=sessions, retired=retire.retired
        ) as metrics_port,
        watchman(vitals, limits),
        asyncio.TaskGroup() as tasks,
    ):
        running_loops = [tasks.create_task(loop, name=name) for name, loop in loops.items()]
        try:
            async with serving(
                host=settings.host,
                port=settings.port,
                timers=timers,
                services=Services(
                    processes=ProcessEdge(keys=keys, enqueue=enqueue, cancel=cancel, read=read),
                    agents=agents,
                    fleet=FleetEdge(
                        keys=keys,
                        phones=PhoneAdmin(database=database, sessions=sessions, hints=hints),
                        accounts=AccountAdmin(database=database, hints=hints, profiles=profiles),
                        groups=GroupAdmin(database=database, hints=hints),
                        sheets=Sheets(database=database, sessions=sessions),
                        membership=membership,
                        pausing=pausing,
                        halt=halt,
                    ),
                    hands=hands,
                    doctor=DoctorEdge(keys=keys, examine=examine),
                    content=content,
                    proving=ProvingEdge(keys=keys, prove=prove),
                    callbacks=CallbackEdge(keys=keys, deliver=deliver, hints=hints),
                    inspect=inspect,
                    access=AccessEdge(keys=keys, api_keys=api_keys, membership=membership),
                    joining=JoinEdge(membership=membership, controllers=settings.controllers),
                    members=MemberEdge(
                        keys=keys, membership=membership, controllers=settings.controllers
                    ),
                ),
                doors=doors(settings, authority),
            ) as ports:
                yield ports, metrics_port
        finally:
            for task in running_loops:
                task.cancel()


async def _while_ours(
    loop: Callable[..., Coroutine[None, None, None]], pulse: Pulse, tenure: Tenure | None
) -> None:
    """Run the loop; while it is another controller's its silence here is no sign."""
    try:
        await loop(tenure, pulse=pulse)
    finally:
        pulse.rest()


class _grouped_starts:  # noqa: N801 - used like a function
    """Lets the start gate answer groups of runs, one group per session."""

    def __init__(self, start: Start) -> None:
        self._start = start

    async def __call__(
        self, groups: Sequence[tuple[StartAsk, ...]]
    ) -> list[tuple[StartAnswer, ...] | Exception]:
        return _grouped(groups, await self._start([ask for group in groups for ask in group]))


class _grouped_reports:  # noqa: N801 - used like a function
    """Lets reports be taken in groups, one group per session."""

    def __init__(self, take: TakeReports) -> None:
        self._take = take

    async def __call__(
        self, groups: Sequence[tuple[Report, ...]]
    ) -> list[tuple[Ack, ...] | Exception]:
        return _grouped(groups, await self._take([report for group in groups for report in group]))


def _grouped(
    groups: Sequence[Sequence[object]], answers: Sequence[_Answer | None]
) -> list[tuple[_Answer, ...] | Exception]:
    """Return the answers of each group; of a session that is superseded only that."""
    left = iter(answers)
    grouped: list[tuple[_Answer, ...] | Exception] = []
    for group in groups:
        own = [next(left) for _ in group]
        given = tuple(answer for answer in own if answer is not None)
        grouped.append(given if len(given) == len(own) else SupersededError())
    return grouped


async def _keep_profiles(database: Database, own: Path) -> dict[str, Profile]:
    """Return the usable profiles by name; each version is kept in the database."""
    profiles = {}
    for name, text in _profile_texts(own).items():
        try:
            profiles[name] = read_profile(name, text)
        except ProfileError as error:
            log.error("profile.refused", profile=name, error=str(error))  # noqa: TRY400 - told whole
    async with database.writing() as tx:
        for profile in profiles.values():
            await keep_profile(tx, version=profile.version, name=profile.name, content=profile.toml)
    return profiles


def _profile_texts(own: Path) -> dict[str, str]:
    """Read the packaged profiles and those in *own*, which win."""
    packaged = resources.files("phonefarm_controller").joinpath("profiles")
    texts = {
        Path(entry.name).stem: entry.read_text()
        for entry in packaged.iterdir()
        if entry.name.endswith(".toml")
    }
    if own.is_dir():
        texts |= {path.stem: path.read_text() for path in sorted(own.glob("*.toml"))}
    return texts
