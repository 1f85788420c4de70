"""Opens every part of the gateway and closes them in reverse order."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiohttp import web
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.clock import Clock, SystemClock
from phonefarm_common.ids import new_id
from phonefarm_common.lifecycle import notify_systemd, write_private_json
from phonefarm_common.outbound_http import Lookup, SystemLookup
from phonefarm_common.tracing import opened_tracer

from phonefarm_gateway.callbacks.dispatcher import running_dispatcher
from phonefarm_gateway.callbacks.limits import CallbackLimits
from phonefarm_gateway.callbacks.sender import Sender, tls_context
from phonefarm_gateway.callbacks.signer import Signer
from phonefarm_gateway.client import ControllerClient
from phonefarm_gateway.console.files import ConsoleFiles
from phonefarm_gateway.console.origins import Origins
from phonefarm_gateway.console.session_seal import SessionSeal
from phonefarm_gateway.console.tickets import Tickets
from phonefarm_gateway.metrics import STREAMS, TLS_ENDS, Metrics
from phonefarm_gateway.rest import app_keys
from phonefarm_gateway.rest.asset_check import AssetChecker
from phonefarm_gateway.rest.auth import RecentKeys
from phonefarm_gateway.rest.docs_page import docs_page
from phonefarm_gateway.rest.event_streams import EventStreams, StreamLimits
from phonefarm_gateway.rest.middleware import name_request, problem_documents
from phonefarm_gateway.rest.openapi import openapi_document
from phonefarm_gateway.rest.rate_limit import LOGIN_BURST, LOGINS_PER_SECOND, RateLimiter
from phonefarm_gateway.rest.server import KEEPALIVE_SECONDS, listening
from phonefarm_gateway.rest.stalled_readers import STALLED_SECONDS
from phonefarm_gateway.rest.tls import ServerTls
from phonefarm_gateway.routes.table import ENDPOINTS, add_routes
from phonefarm_gateway.settings import Settings
from phonefarm_gateway.strict_json import dump

_log = structlog.get_logger()


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    limits: CallbackLimits | None = None,
    streams: StreamLimits | None = None,
    idle: float = KEEPALIVE_SECONDS,
    stalled: float = STALLED_SECONDS,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[str]:
    """Yield HOST:PORT of a gateway that answers requests and sends callbacks.

    At the end it stops accepting, finishes requests and attempts within STOP_SECONDS, reports the
    deliveries it has leased, and closes the channel. After so many seconds, *idle* closes a
    connection without a request, and *stalled* one whose caller does not read the answer. Raises
    ConfigError for an unusable webhook secret or certificate, ValueError for a controller in
    plaintext that is not on loopback, OSError when the address is taken.
    """
    limits = limits or CallbackLimits.of(settings.timers)
    # Half of the connections: event streams must not keep other requests out.
    streams = streams or StreamLimits(most=max(1, settings.connections // 2))
    clock = clock or SystemClock()
    policy = AddressPolicy(allowed=settings.allowed_networks)
    signer = Signer(settings.webhook_secret) if settings.webhook_secret is not None else None
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(
            opened_tracer("gateway", count=metrics.count_spans)
        )
        if lookup is None:
            # A silent name keeps one, so that the names of all held deliveries find one.
            system_lookup = SystemLookup(threads=limits.held)
            stack.callback(system_lookup.close)
            lookup = system_lookup
        controller = await stack.enter_async_context(
            ControllerClient.opened(
                settings.controllers,
                timers=settings.timers,
                token=settings.gateway_token,
                gateway_id=new_id(),
                signs=signer is not None,
                observe=metrics.count_attempt,
                state=settings.state if settings.joined else None,
            )
        )
        sender = await stack.enter_async_context(
            Sender.opened(
                policy=policy,
                signer=signer,
                tls=tls_context(settings.callback_ca),
                lookup=lookup,
                clock=clock,
                lookup_seconds=limits.lookup,
                attempt_seconds=limits.attempt,
                tracer=tracer,
            )
        )
        assets = await stack.enter_async_context(
            AssetChecker.opened(
                policy=AddressPolicy(allowed=settings.asset_networks),
                lookup=lookup,
                seconds=settings.asset_seconds,
            )
        )
        await stack.enter_async_context(
            running_dispatcher(controller, sender, limits=limits, clock=clock)
        )
        application = web.Application(
            middlewares=[problem_documents], client_max_size=settings.body_limit
        )
        application.on_response_prepare.append(name_request)
        application[app_keys.CONTROLLER] = controller
        application[app_keys.POLICY] = policy
        application[app_keys.ASSETS] = assets
        application[app_keys.RATES] = RateLimiter(
            per_second=settings.rate_limit, burst=settings.rate_burst, clock=clock
        )
        application[app_keys.LOGIN_RATES] = RateLimiter(
            per_second=LOGINS_PER_SECOND, burst=LOGIN_BURST, clock=clock
        )
        application[app_keys.RECENT_KEYS] = RecentKeys(clock=clock)
        application[app_keys.METRICS] = metrics
        application[app_keys.TRACER] = tracer
        application[app_keys.METRICS_OPEN] = settings.open_metrics
        application[app_keys.ORIGINS] = Origins(settings.console_origins)
        application[app_keys.SEAL] = SessionSeal(settings.console_secret, clock)
        application[app_keys.TICKETS] = Tickets(clock)
        _add_documentation(application)
        _add_event_streams(application, EventStreams(streams), metrics)
        add_routes(application.router)
        tls = await stack.enter_async_context(_own_tls(settings, metrics))
        ConsoleFiles.read().add_routes(application.router)
        address = await stack.enter_async_context(
            listening(
                application,
                host=settings.host,
                port=settings.port,
                most=settings.connections,
                idle=idle,
                stalled=stalled,
                tls=tls,
            )
        )
        write_private_json(settings.ready_file, {"rest": address, "pid": os.getpid()})
        notify_systemd("READY=1")
        _log.info("gateway.started", rest=address, tls=tls is not None, signed=signer is not None)
        yield address
        _log.info("gateway.stopping")


@asynccontextmanager
async def _own_tls(settings: Settings, metrics: Metrics) -> AsyncIterator[ssl.SSLContext | None]:
    """Yield the context to listen with, and renew its certificate; None without one."""
    if settings.tls is None:
        yield None
        return
    tls = ServerTls(*settings.tls)
    metrics.add_gauge(TLS_ENDS, lambda: tls.ends.timestamp())
    renewing = asyncio.create_task(tls.keep_renewed(), name="tls")
    try:
        yield tls.context
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


def _add_documentation(application: web.Application) -> None:
    """Add the OpenAPI document and its page."""
    document = openapi_document(ENDPOINTS)
    application[app_keys.OPENAPI] = dump(document).encode()
    application[app_keys.DOCS] = docs_page(document).encode()


def _add_event_streams(
    application: web.Application, streams: EventStreams, metrics: Metrics
) -> None:
    """Add the limit of event streams, their gauge, and their end at shutdown."""
    application[app_keys.STREAMS] = streams
    metrics.add_gauge(STREAMS, lambda: streams.open)

    async def end_streams(_: web.Application) -> None:
        streams.stopping.set()

    application.on_shutdown.append(end_streams)
