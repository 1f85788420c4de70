"""The controller's loops: the name, the period and the work of each, and which one leads."""

import asyncio
import operator
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Final

from phonefarm_common.ids import new_id

from phonefarm_controller.agents import offers
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.app.wiring import Core, Features
from phonefarm_controller.cluster.leader_election import LoopOwnership, run_elected
from phonefarm_controller.cluster.notifier import QUIET_SECONDS, Notifier
from phonefarm_controller.concurrency.loop import every
from phonefarm_controller.evidence import availability
from phonefarm_controller.fleet import farm_watch
from phonefarm_controller.health.expiry import HealthExpiry
from phonefarm_controller.housekeeping import consistency, disk_guard, retention, stuck_transactions
from phonefarm_controller.monitoring import alerts, farm_counts, process_traces
from phonefarm_controller.monitoring.stall_detector import StallDetector
from phonefarm_controller.processes import schedule_firing, watch
from phonefarm_controller.runs.lease_reaper import LeaseReaper
from phonefarm_controller.scheduler import dispatcher
from phonefarm_controller.scheduler.due_items import DueItems
from phonefarm_controller.scheduler.ticker import run_ticker
from phonefarm_controller.store.loop_leases import Tenure

BATCH_SECONDS: Final = 5.0
"""A batch may take this long; the watchdog uses it as the period of loops that run batches."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop that every controller runs."""

    name: str
    period: float
    run: Callable[[Liveness], Coroutine[None, None, None]]


@dataclass(frozen=True, kw_only=True)
class LeaderLoop:
    """A loop that one controller of several runs; it writes under its tenure."""

    name: str
    period: float
    run: Callable[[Liveness, Tenure | None], Coroutine[None, None, None]]


def start_loops(
    core: Core, features: Features, tasks: asyncio.TaskGroup
) -> list[asyncio.Task[None]]:
    """Start every loop of this controller as a task of the group."""
    alarms = core.alarms
    started = {
        loop.name: loop.run(alarms.liveness(loop.name, period=loop.period))
        for loop in _loops(core, features)
    }
    ownership = LoopOwnership(
        database=core.database, owner=f"{socket.gethostname()}:{os.getpid()}:{new_id()[:8]}"
    )
    for loop in _leader_loops(core, features):
        body = partial(_while_ours, loop, alarms.liveness(loop.name, period=loop.period))
        election = f"election of {loop.name}"
        started[loop.name] = (
            run_elected(
                loop.name,
                body,
                ownership=ownership,
                timers=core.timers,
                clock=core.clock,
                liveness=alarms.liveness(election, period=core.timers.loop_beat),
            )
            if core.several
            else body(None)
        )
    return [tasks.create_task(work, name=name) for name, work in started.items()]


async def _while_ours(loop: LeaderLoop, liveness: Liveness, tenure: Tenure | None) -> None:
    """Run the loop; while another controller runs it, its silence here is no alarm."""
    try:
        await loop.run(liveness, tenure)
    finally:
        liveness.rest()


def _periodic(name: str, period: float, *work: Callable[[], Awaitable[object]]) -> Loop:
    def run(liveness: Liveness) -> Coroutine[None, None, None]:
        return every(period, name, *work, liveness=liveness)

    return Loop(name=name, period=period, run=run)


def _metrics_loops(core: Core, features: Features) -> list[Loop]:
    """Return the loop that counts for the metrics, if somebody can read them."""
    if core.settings.metrics is None:
        return []
    period = farm_counts.PERIOD_SECONDS * core.settings.time_scale
    return [_periodic("farm_counts", period, features.farm_counter.count)]


def _tracing_loops(core: Core, features: Features) -> list[Loop]:
    """Return the loop that makes spans, if somebody collects them."""
    if not core.tracer.is_on:
        return []
    run = partial(process_traces.run_process_traces, traces=features.process_traces)
    return [Loop(name="process_traces", period=process_traces.POLL_SECONDS, run=run)]


def _loops(core: Core, features: Features) -> list[Loop]:
    settings, database, wakeups, sessions = (
        core.settings,
        core.database,
        core.wakeups,
        core.sessions,
    )
    scaled = partial(operator.mul, settings.time_scale)
    reaper = LeaseReaper(
        database=database, expiry=features.lease_expiry, timers=core.timers, clock=core.clock
    )
    stalls = StallDetector(
        database=database,
        claim=features.claim,
        sessions=sessions,
        alarms=core.alarms,
        limits=core.limits,
    )
    loops = [
        Loop(name="enqueue", period=BATCH_SECONDS, run=features.enqueue.run),
        Loop(name="starts", period=BATCH_SECONDS, run=features.starts.run),
        Loop(name="reports", period=BATCH_SECONDS, run=features.reports.run),
        Loop(
            name="dispatcher",
            period=dispatcher.POLL_SECONDS,
            run=partial(
                dispatcher.run_dispatcher, claim=features.claim, sessions=sessions, wakeups=wakeups
            ),
        ),
        _periodic("lease_reaper", core.timers.reap, reaper.check),
        Loop(
            name="process_watch",
            period=watch.POLL_SECONDS,
            run=partial(
                watch.run_process_watch, process_watch=features.process_watch, wakeups=wakeups
            ),
        ),
        Loop(
            name="farm_watch",
            period=farm_watch.POLL_SECONDS,
            run=partial(farm_watch.run_farm_watch, farm_watch=features.farm_watch, wakeups=wakeups),
        ),
        _periodic("stall_detector", core.limits.interval, stalls.survey),
        *_metrics_loops(core, features),
        *_tracing_loops(core, features),
        _periodic(
            "disk_guard",
            scaled(disk_guard.PERIOD_SECONDS),
            partial(
                disk_guard.check_disk,
                settings.data,
                disk_alarm=core.disk_alarm,
                wakeups=wakeups,
                least=settings.least_free,
                reserve=settings.reserve,
            ),
        ),
        _periodic(
            "retention",
            scaled(retention.PERIOD_SECONDS),
            partial(retention.sweep_partial_files, core.backend),
            features.retention.files,
            features.retention.processes,
        ),
        Loop(
            name="evidence_availability",
            period=scaled(availability.PERIOD_SECONDS),
            run=partial(
                availability.run_availability_check,
                backend=core.backend,
                farm_id=settings.farm_id,
                alarms=core.alarms,
                period=scaled(availability.PERIOD_SECONDS),
            ),
        ),
    ]
    if core.several:
        loops += _loops_beside_others(core)
    return loops


def _loops_beside_others(core: Core) -> list[Loop]:
    notifier = Notifier(
        url=core.settings.database_url,
        wakeups=core.wakeups,
        sessions=core.sessions,
        alarms=core.alarms,
        limits=core.limits,
    )
    return [
        _periodic(
            "stuck_transactions",
            stuck_transactions.PERIOD_SECONDS,
            partial(stuck_transactions.end_stuck_transactions, core.database),
        ),
        Loop(
            name="offer_publisher",
            period=offers.PERIOD_SECONDS,
            run=partial(offers.run_offer_publisher, database=core.database, sessions=core.sessions),
        ),
        Loop(name="notifier", period=QUIET_SECONDS, run=notifier.run),
    ]


def _leader_loops(core: Core, features: Features) -> list[LeaderLoop]:
    database, wakeups = core.database, core.wakeups
    loops = [
        LeaderLoop(
            name="ticker",
            period=core.timers.reap,
            run=partial(
                run_ticker,
                due_items=DueItems(database=database, wakeups=wakeups),
                health_expiry=HealthExpiry(
                    database=database,
                    policy=core.health,
                    wakeups=wakeups,
                    golden_jobs=features.golden_jobs,
                ),
                golden_jobs=features.golden_jobs,
                wakeups=wakeups,
                poll_seconds=core.timers.reap,
            ),
        ),
        LeaderLoop(
            name="consistency_check",
            period=consistency.PERIOD_SECONDS,
            run=partial(consistency.run_consistency_check, database=database, wakeups=wakeups),
        ),
        LeaderLoop(
            name="schedules",
            period=schedule_firing.PERIOD_SECONDS,
            run=partial(schedule_firing.run_schedules, firing=features.schedule_firing),
        ),
    ]
    if core.settings.alert_url is not None:
        scale = core.settings.time_scale
        loops.append(
            LeaderLoop(
                name="alerts",
                period=alerts.PERIOD_SECONDS * scale,
                run=partial(
                    alerts.run_alerts,
                    doctor=features.doctor,
                    events=features.alert_events,
                    scale=scale,
                ),
            )
        )
    return loops
