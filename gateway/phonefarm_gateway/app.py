"""The gateway, opened and closed as a whole."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from aiohttp import web
from phonefarm_common.addresses import AddressPolicy
from phonefarm_common.clock import Clock, SystemClock
from phonefarm_common.identity import new_id
from phonefarm_common.lifecycle import announce
from phonefarm_common.outward import Lookup, SystemLookup

from phonefarm_gateway.callbacks.dispatch import dispatching
from phonefarm_gateway.callbacks.limits import Limits
from phonefarm_gateway.callbacks.sender import Sender
from phonefarm_gateway.callbacks.signing import Signer
from phonefarm_gateway.controller import Controller
from phonefarm_gateway.middlewares import problem_documents
from phonefarm_gateway.routes import CONTROLLER, POLICY, add_routes
from phonefarm_gateway.settings import Settings

STOP_SECONDS: Final = 10.0

_log = structlog.get_logger()


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    limits: Limits | None = None,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[str]:
    """Yield HOST:PORT of a gateway that answers requests and sends callbacks.

    On the way out it stops accepting, finishes what is under way within STOP_SECONDS, reports what
    it had leased, and closes the channel. Raise ConfigError for a webhook secret that cannot be
    used, ValueError for a controller that is not on loopback, OSError when the address is taken.
    """
    limits = limits or Limits()
    clock = clock or SystemClock()
    policy = AddressPolicy(allowed=settings.allowed_networks)
    signer = Signer(settings.webhook_secret) if settings.webhook_secret is not None else None
    async with AsyncExitStack() as stack:
        if lookup is None:
            system_lookup = SystemLookup(threads=limits.lookups)
            stack.callback(system_lookup.close)
            lookup = system_lookup
        controller = await stack.enter_async_context(
            Controller.opened(
                settings.controller,
                timers=settings.timers,
                token=settings.gateway_token,
                gateway_id=new_id(),
            )
        )
        sender = await stack.enter_async_context(
            Sender.opened(
                policy=policy,
                signer=signer,
                lookup=lookup,
                clock=clock,
                attempt_seconds=limits.attempt,
            )
        )
        await stack.enter_async_context(dispatching(controller, sender, limits=limits, clock=clock))
        application = make_application(controller, policy, body_limit=settings.body_limit)
        address = await stack.enter_async_context(_serving(application, settings))
        announce(settings.ready_file, {"rest": address, "pid": os.getpid()})
        _log.info("gateway.started", rest=address, signed=signer is not None)
        yield address
        _log.info("gateway.stopping")


def make_application(
    controller: Controller, policy: AddressPolicy, *, body_limit: int
) -> web.Application:
    """Return the REST application over *controller*."""
    application = web.Application(middlewares=[problem_documents], client_max_size=body_limit)
    application[CONTROLLER] = controller
    application[POLICY] = policy
    add_routes(application.router)
    return application


@asynccontextmanager
async def _serving(application: web.Application, settings: Settings) -> AsyncIterator[str]:
    # It logs a stack for every connection that does not speak HTTP; our middleware logs the rest.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        await runner.cleanup()
