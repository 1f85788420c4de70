"""Builds the operations that services and loops share, from one core."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers
from phonefarm_common.tracing import Tracer

from phonefarm_controller.agents.inventory import Inventory
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Alarms, DiskAlarm, Limits
from phonefarm_controller.auth.api_keys import ApiKeys
from phonefarm_controller.auth.ca import Authority
from phonefarm_controller.auth.enrollment import AdvertisedAddresses, Enrollment
from phonefarm_controller.callbacks.alerts import AlertEvents
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.concurrency.batcher import Batcher
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.evidence.backends.backend import EvidenceBackend
from phonefarm_controller.fleet.farm_watch import FarmWatch
from phonefarm_controller.health.golden_jobs import CHECK_SECONDS, GoldenJobs
from phonefarm_controller.housekeeping.retention import Retention
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.health import HealthPolicy
from phonefarm_controller.model.requests import Submission
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import Report
from phonefarm_controller.monitoring.doctor import Doctor
from phonefarm_controller.monitoring.farm_counts import FarmCounter
from phonefarm_controller.monitoring.process_traces import ProcessTraces
from phonefarm_controller.monitoring.span_totals import SpanTotals
from phonefarm_controller.processes.cancel import CancelProcess
from phonefarm_controller.processes.enqueue import Accepted, Enqueue
from phonefarm_controller.processes.query import ProcessQuery
from phonefarm_controller.processes.schedule_firing import ScheduleFiring
from phonefarm_controller.processes.schedules import Schedules
from phonefarm_controller.processes.watch import ProcessWatch
from phonefarm_controller.rpc.auth import Authenticator
from phonefarm_controller.rpc.screen_links import ScreenLinks
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.runs.lease_expiry import LeaseExpiry
from phonefarm_controller.runs.report import Ack, RecordReports
from phonefarm_controller.runs.start_gate import StartAnswer, StartGate, StartRequest
from phonefarm_controller.runs.totals import RunTotals
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.fleet_cache import FleetCache
from phonefarm_controller.screens.links import Links
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.notify import may_be_shared

ENQUEUE_BATCH: Final = 100
AGENT_BATCH: Final = 100


@dataclass(frozen=True, kw_only=True)
class Core:
    """What every feature is built from."""

    settings: Settings
    clock: Clock
    database: Database
    backend: EvidenceBackend
    profiles: Mapping[str, Profile]
    several: bool
    """Whether other controllers may share the database."""
    policy: RetryPolicy
    health: HealthPolicy
    limits: Limits
    wakeups: WakeUps
    alarms: Alarms
    disk_alarm: DiskAlarm
    sessions: Sessions
    tracer: Tracer
    span_totals: SpanTotals

    @property
    def timers(self) -> Timers:
        """Return the timers that all programs of the farm share."""
        return self.settings.timers

    @property
    def dummy_allowed(self) -> bool:
        """Tell whether callers may ask for dummy runs."""
        return not self.settings.production


def core_of(
    settings: Settings,
    clock: Clock,
    *,
    database: Database,
    backend: EvidenceBackend,
    profiles: Mapping[str, Profile],
    tracer: Tracer,
    span_totals: SpanTotals,
) -> Core:
    """Return the core of a controller with these settings."""
    several = may_be_shared(settings.database_url)
    max_wait = None if settings.max_wait is None else settings.max_wait.total_seconds()
    wakeups = WakeUps(alone=not several)
    database.on_processes_moved(wakeups.processes_moved)
    return Core(
        settings=settings,
        clock=clock,
        database=database,
        backend=backend,
        profiles=profiles,
        several=several,
        policy=RetryPolicy(max_wait=max_wait).scaled(settings.time_scale),
        health=HealthPolicy().scaled(settings.time_scale),
        limits=settings.limits or Limits().scaled(settings.time_scale),
        wakeups=wakeups,
        alarms=Alarms(),
        disk_alarm=DiskAlarm(),
        sessions=Sessions(wakeups=wakeups, clock=clock, offer_lapses=settings.timers.suspect),
        tracer=tracer,
        span_totals=span_totals,
    )


@dataclass(frozen=True, kw_only=True)
class Features:
    """The operations that several services, or a service and a loop, share."""

    assignments: AssignmentBuilder
    claim: Claim
    lease_expiry: LeaseExpiry
    inventory: Inventory
    enqueue: Batcher[Submission, Accepted]
    schedules: Schedules
    schedule_firing: ScheduleFiring
    starts: Batcher[StartRequest, StartAnswer]
    reports: Batcher[Report, Ack]
    cancel: CancelProcess
    processes: ProcessQuery
    process_watch: ProcessWatch
    farm_watch: FarmWatch
    golden_jobs: GoldenJobs
    retention: Retention
    api_keys: ApiKeys
    enrollment: Enrollment
    auth: Authenticator
    gateway_calls: GatewayCalls
    run_totals: RunTotals
    farm_counter: FarmCounter
    process_traces: ProcessTraces
    screen_links: ScreenLinks
    alert_events: AlertEvents
    doctor: Doctor


def build_features(
    core: Core, authority: Authority | None, *, doors: Callable[[], AdvertisedAddresses | None]
) -> Features:
    """Build what is shared; *doors* tells where other hosts find this one, once it listens."""
    settings, database, wakeups = core.settings, core.database, core.wakeups
    fleet_cache = FleetCache(wakeups=wakeups, monotonic=core.clock.monotonic)
    assignments = AssignmentBuilder(clean_up=fleet_cache.clean_up)
    start = StartGate(database=database, deliveries_made=wakeups.deliveries)
    run_totals = RunTotals()
    take = RecordReports(
        database=database,
        policy=core.policy,
        health=core.health,
        wakeups=wakeups,
        sessions=core.sessions,
        totals=run_totals,
    )
    enqueue = Enqueue(
        database=database,
        profiles=core.profiles,
        policy=core.policy,
        wakeups=wakeups,
        disk_alarm=core.disk_alarm,
        dummy_allowed=core.dummy_allowed,
    )
    api_keys = ApiKeys(database=database, monotonic=core.clock.monotonic)
    enrollment = Enrollment(
        database=database,
        sessions=core.sessions,
        authority=authority,
        doors=doors,
        life=settings.certificate_life,
    )
    gateway_calls = GatewayCalls(monotonic=core.clock.monotonic)
    process_traces = ProcessTraces(database=database, tracer=core.tracer)
    if core.tracer.is_on:
        database.on_transitions(process_traces.hear)
    claim = Claim(
        database=database,
        fleet_cache=fleet_cache,
        assignments=assignments,
        disk_alarm=core.disk_alarm,
        timers=core.timers,
    )
    alert_events = AlertEvents(
        database=database, wakeups=wakeups, url=settings.alert_url, farm_id=settings.farm_id
    )
    return Features(
        assignments=assignments,
        claim=claim,
        lease_expiry=LeaseExpiry(
            database=database,
            policy=core.policy,
            health=core.health,
            sessions=core.sessions,
            wakeups=wakeups,
        ),
        inventory=Inventory(database=database, wakeups=wakeups),
        enqueue=Batcher(enqueue, most=ENQUEUE_BATCH),
        schedules=Schedules(database=database, enqueue=enqueue),
        schedule_firing=ScheduleFiring(
            database=database, enqueue=enqueue, disk_alarm=core.disk_alarm
        ),
        starts=Batcher(start, most=AGENT_BATCH),
        reports=Batcher(take, most=AGENT_BATCH),
        cancel=CancelProcess(
            database=database, sessions=core.sessions, wakeups=wakeups, timers=core.timers
        ),
        processes=ProcessQuery(database=database),
        process_watch=ProcessWatch(database=database, wakeups=wakeups),
        farm_watch=FarmWatch(
            database=database, sessions=core.sessions, monotonic=core.clock.monotonic
        ),
        golden_jobs=GoldenJobs(
            database=database,
            profiles=core.profiles,
            every=settings.golden_every,
            wakeups=wakeups,
            monotonic=core.clock.monotonic,
            interval=CHECK_SECONDS * settings.time_scale,
        ),
        retention=Retention(database=database, backend=core.backend, keep=settings.keep),
        api_keys=api_keys,
        enrollment=enrollment,
        auth=Authenticator(
            ingest_secret=settings.ingest_secret,
            agent_token=settings.agent_token,
            gateway_token=settings.gateway_token,
            api_keys=api_keys,
            enrollment=enrollment,
            gateway_calls=gateway_calls,
        ),
        gateway_calls=gateway_calls,
        run_totals=run_totals,
        farm_counter=FarmCounter(database=database, sessions=core.sessions),
        process_traces=process_traces,
        screen_links=Links(
            database=database,
            sessions=core.sessions,
            wakeups=wakeups,
        ),
        alert_events=alert_events,
        doctor=Doctor(
            database=database,
            sessions=core.sessions,
            claim=claim,
            gateway_calls=gateway_calls,
            alarms=core.alarms,
            disk_alarm=core.disk_alarm,
            clock=core.clock,
            version=importlib.metadata.version("phonefarm"),
            certificate_life=settings.certificate_life,
            alone=not core.several,
            alert_receiver=alert_events.receiver,
        ),
    )
