"""A running controller: opens everything, serves, and closes it in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import structlog
from phonefarm_common.clock import Clock, SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_common.tracing import opened_tracer

from phonefarm_controller.app.listeners import (
    advertised_addresses,
    open_farm_authority,
    tls_listeners,
)
from phonefarm_controller.app.loops import start_loops
from phonefarm_controller.app.services import build_services
from phonefarm_controller.app.wiring import Core, build_features, core_of
from phonefarm_controller.evidence.availability import claim_backend
from phonefarm_controller.evidence.backends.open import open_backend
from phonefarm_controller.model.app_profiles import (
    NO_PROFILE,
    Profile,
    ProfileError,
    read_profile,
)
from phonefarm_controller.monitoring.metrics import ControllerMetrics, serving_metrics
from phonefarm_controller.monitoring.span_totals import SpanTotals
from phonefarm_controller.monitoring.watchdog import watchdog
from phonefarm_controller.rpc.server import Ports, serving
from phonefarm_controller.scheduler.pauses import pause_at_start
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.api_keys import any_unrevoked
from phonefarm_controller.store.app_profiles import keep_profile
from phonefarm_controller.store.database import Database, shown
from phonefarm_controller.store.migrate import open_migrated
from phonefarm_controller.store.notify import may_be_shared

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A running controller."""

    port: int
    database: Database
    tls_port: int = 0
    mtls_port: int = 0
    """0 if other hosts cannot join."""
    metrics_port: int = 0
    """0 if metrics are not served."""


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Controller]:
    """Run a controller while the block runs; close everything, in reverse, on the way out.

    Raises ConfigError when nobody could call it, DatabaseTakenError or DatabaseUnusableError, and
    OSError for an address or a directory that cannot be had.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        span_totals = SpanTotals()
        tracer = await stack.enter_async_context(opened_tracer("controller", count=span_totals.add))
        database = await stack.enter_async_context(open_migrated(settings.database_url, clock))
        if settings.ingest_secret is None and not await _any_key(database):
            raise ConfigError(
                "nobody could call this controller, because it has no API key yet: set "
                "INGEST_SECRET, then create keys with `phonefarm keys create NAME --scope SCOPE`"
            )
        if settings.paused:
            await pause_at_start(database)
        backend = open_backend(settings.evidence_backend, scratch=settings.data / "uploads")
        await claim_backend(
            database,
            backend,
            farm_id=settings.farm_id,
            shared=may_be_shared(settings.database_url),
        )
        profiles = await store_app_profiles(database, settings.data / "profiles")
        core = core_of(
            settings,
            clock,
            database=database,
            backend=backend,
            profiles=profiles,
            tracer=tracer,
            span_totals=span_totals,
        )
        ports, metrics_port = await stack.enter_async_context(_started(core))
        log.info(
            "controller.ready",
            port=ports.plain,
            tls_port=ports.tls,
            mtls_port=ports.mtls,
            database=shown(settings.database_url),
        )
        yield Controller(
            port=ports.plain,
            database=database,
            tls_port=ports.tls,
            mtls_port=ports.mtls,
            metrics_port=metrics_port,
        )


async def _any_key(database: Database) -> bool:
    async with database.reading() as tx:
        return await any_unrevoked(tx)


@asynccontextmanager
async def _started(core: Core) -> AsyncIterator[tuple[Ports, int]]:
    """Run the loops and serve while the block runs; yield the ports, and that of the metrics."""
    settings = core.settings
    authority = await open_farm_authority(settings, core.database)
    ports: Ports | None = None
    features = build_features(
        core,
        authority,
        doors=lambda: None if ports is None else advertised_addresses(settings, ports),
    )
    async with (
        serving_metrics(
            settings.metrics,
            ControllerMetrics(
                alarms=core.alarms,
                sessions=core.sessions,
                removed=features.retention.removed,
                farm=features.farm_counter,
                runs=features.run_totals,
                spans=core.span_totals,
            ),
        ) as metrics_port,
        watchdog(core.alarms, core.limits),
        asyncio.TaskGroup() as tasks,
    ):
        loops = start_loops(core, features, tasks)
        try:
            async with serving(
                host=settings.host,
                port=settings.port,
                timers=core.timers,
                auth=features.auth,
                tracer=core.tracer,
                services=build_services(core, features),
                doors=tls_listeners(settings, authority),
            ) as ports:
                yield ports, metrics_port
        finally:
            for loop in loops:
                loop.cancel()
    await features.process_traces.send_last()


async def store_app_profiles(database: Database, own: Path) -> dict[str, Profile]:
    """Return the usable profiles by name; each version is kept in the database."""
    profiles = {}
    for name, text in _profile_texts(own).items():
        try:
            profiles[name] = read_profile(name, text)
        except ProfileError as error:
            log.error("profile.refused", profile=name, error=str(error))  # noqa: TRY400 - told whole
    async with database.writing() as tx:
        for profile in (NO_PROFILE, *profiles.values()):
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
