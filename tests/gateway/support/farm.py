"""A real gateway on loopback between a test and a controller in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import aiohttp
from gateway.support.caller import Answer, Caller
from gateway.support.memory_controller import ACCOUNT, KEY, TOKEN, MemoryController
from phonefarm_common.address_policy import Address, network
from phonefarm_common.clock import Clock
from phonefarm_common.outbound_http import Lookup
from phonefarm_common.timers import Timers
from phonefarm_gateway.app import running
from phonefarm_gateway.callbacks.limits import CallbackLimits
from phonefarm_gateway.rest.event_streams import StreamLimits
from phonefarm_gateway.rest.server import KEEPALIVE_SECONDS
from phonefarm_gateway.rest.stalled_readers import STALLED_SECONDS
from phonefarm_gateway.settings import Settings

LOOPBACK = ("127.0.0.0/8",)


class Names:
    """A name service of the test's own: no test asks the real one about names it made up."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[Address]:
        """Return the addresses given for *name*; OSError when there are none."""
        self.asked.append(name)
        if name not in self.names:
            raise OSError(f"{name} has no address here")
        return [ip_address(text) for text in self.names[name]]


class Farm(Caller):
    """Calls the gateway as a caller does."""

    def __init__(
        self, controller: MemoryController, base: str, session: aiohttp.ClientSession
    ) -> None:
        super().__init__(base, session, KEY)
        self.controller = controller

    async def enqueue(self, **changes: Any) -> Answer:
        """Enqueue a valid body with *changes*."""
        return await self.call("POST", "/capability-requests/enqueue", enqueue_body(**changes))


@asynccontextmanager
async def farm(
    *,
    webhook_secret: str | None = None,
    allowed: tuple[str, ...] = LOOPBACK,
    body_limit: int = 1024 * 1024,
    limits: CallbackLimits | None = None,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
    streams: StreamLimits | None = None,
    idle: float = KEEPALIVE_SECONDS,
    stalled: float = STALLED_SECONDS,
    changes: Mapping[str, Any] | None = None,
) -> AsyncIterator[Farm]:
    """Yield a caller's view of a gateway that may call back to *allowed* networks."""
    async with MemoryController.serving() as controller:
        settings = Settings(
            port=0,
            gateway_token=TOKEN,
            webhook_secret=webhook_secret,
            ready_file=None,
            allowed_networks=tuple(network(text) for text in allowed),
            asset_networks=tuple(network(text) for text in allowed),
            body_limit=body_limit,
            timers=Timers(),
            **{"host": "127.0.0.1", "controllers": (controller.address,), **(changes or {})},
        )
        async with (
            running(
                settings,
                limits=limits,
                streams=streams,
                idle=idle,
                stalled=stalled,
                lookup=lookup or Names(),
                clock=clock,
            ) as address,
            aiohttp.ClientSession() as session,
        ):
            yield Farm(controller, f"http://{address}", session)


def enqueue_body(**changes: Any) -> dict[str, Any]:
    """Return a body that is accepted, with *changes* at its top; None removes a key."""
    body = {
        "request_id": "req-1",
        "capability": "keyword_warmup",
        "mode": "manual",
        "target": {"routing": "direct", "phone_id": None, "account_id": ACCOUNT},
        "inputs": {"keywords": ["tea"]},
        "callback": {"url": "http://198.18.0.1.example.com/hook"},
        "requested_by": {"system": "tests", "user": None, "metadata": {}},
    }
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}


def maintenance_body(**changes: Any) -> dict[str, Any]:
    """Return a maintenance body that is accepted, with *changes* at its top."""
    steps = [{"action": "edit_profile", "params": {"bio": "tea"}, "mutation_kind": "bio"}]
    body = {
        "request_id": "m-1",
        "account_id": ACCOUNT,
        "inputs": {"steps": steps, "metadata": {"ticket": 7}},
        "callback": {"url": "http://hooks.example.com/m"},
        "requested_by": {"system": "tests"},
    }
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}
