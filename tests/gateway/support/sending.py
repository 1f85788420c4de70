"""A real controller that owes callbacks, and real gateways that send them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.support.farm import LOOPBACK, Names
from phonefarm.v1 import fleet_pb2, inspect_pb2, inspect_pb2_grpc, process_pb2
from phonefarm_common.address_policy import network
from phonefarm_common.channel import bearer
from phonefarm_common.outbound_http import Lookup
from phonefarm_gateway.app import running
from phonefarm_gateway.callbacks.limits import CallbackLimits
from phonefarm_gateway.settings import Settings
from support.controller import GATEWAY_TOKEN, KEY, Farm, farm_on, request


@dataclass(frozen=True, kw_only=True)
class Sending:
    """A farm whose processes only tell; nothing runs."""

    farm: Farm
    inspection: Any

    async def owe(self, url: str) -> str:
        """Let a process have something to tell *url*; return it."""
        callback = process_pb2.Callback(url=url)
        return (await self.farm.enqueue(request(callback=callback))).process_id

    async def log(self, process_id: str) -> list[inspect_pb2.DeliveryLine]:
        """Return the log of the process's deliveries."""
        asked = inspect_pb2.ListDeliveriesRequest(process_id=process_id)
        answer = await self.inspection.ListDeliveries(asked, metadata=bearer(KEY))
        return list(answer.deliveries)

    async def until(
        self,
        process_id: str,
        holds: Callable[[list[inspect_pb2.DeliveryLine]], Any],
        *,
        within: float = 180,
    ) -> list[inspect_pb2.DeliveryLine]:
        """Return the log once *holds* of it; TimeoutError otherwise."""
        async with asyncio.timeout(within):
            while True:
                lines = await self.log(process_id)
                if holds(lines):
                    return lines
                await asyncio.sleep(0.02)

    async def first(self, process_id: str) -> inspect_pb2.DeliveryLine:
        """Return the first delivery once its first attempt has ended."""
        return (await self.until(process_id, lambda lines: lines[0].log))[0]


@asynccontextmanager
async def owing(folder: Path, *, scale: float = 1.0) -> AsyncIterator[Sending]:
    """Yield a controller that owes; no gateway sends yet."""
    async with farm_on(
        f"sqlite:///{folder / 'farm.db'}", folder / "data", scale=scale, lapse=scale
    ) as farm:
        account = fleet_pb2.Account(account_id="acc", app="shortvideo", active=True)
        await farm.fleet.PutAccount(
            fleet_pb2.PutAccountRequest(account=account), metadata=bearer(KEY)
        )
        yield Sending(farm=farm, inspection=inspect_pb2_grpc.InspectServiceStub(farm.channel))


@asynccontextmanager
async def sending(
    folder: Path,
    *,
    gateways: int = 1,
    scale: float = 1.0,
    limits: CallbackLimits | None = None,
    allowed: tuple[str, ...] = LOOPBACK,
    lookup: Lookup | None = None,
    callback_ca: Path | None = None,
) -> AsyncIterator[Sending]:
    """Yield a controller that owes, with gateways that send."""
    async with owing(folder, scale=scale) as it, AsyncExitStack() as stack:
        settings = Settings(
            host="127.0.0.1",
            port=0,
            controllers=(f"127.0.0.1:{it.farm.controller.port}",),
            gateway_token=GATEWAY_TOKEN,
            webhook_secret=None,
            ready_file=None,
            allowed_networks=tuple(network(text) for text in allowed),
            asset_networks=(),
            body_limit=1024 * 1024,
            timers=it.farm.timers,
            callback_ca=callback_ca,
        )
        for _ in range(gateways):
            await stack.enter_async_context(
                running(settings, limits=limits, lookup=lookup or Names())
            )
        yield it
