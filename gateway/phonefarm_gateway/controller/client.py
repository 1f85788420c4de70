"""One client of the controller, with a part for each of its services."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, cast

import grpc.aio
from phonefarm_common.channel import open_channel
from phonefarm_common.clock import SystemClock
from phonefarm_common.timers import Timers

from phonefarm_gateway.controller.calls import Link
from phonefarm_gateway.controller.content import Content
from phonefarm_gateway.controller.fleet import Fleet
from phonefarm_gateway.controller.inspection import Inspection
from phonefarm_gateway.controller.outbox import Outbox
from phonefarm_gateway.controller.processes import Processes
from phonefarm_gateway.controller.standing import standing
from phonefarm_gateway.deliveries import Delivery, Report


class Controller:
    """Every call takes the caller's key first; the outbox is the gateway's own."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str,
        gateway_id: str,
        observe: Callable[[Report], None] | None = None,
    ) -> None:
        link = Link(token=token)
        self.processes = Processes(channel, link)
        self.inspection = Inspection(channel, link)
        self.content = Content(channel, link)
        self.fleet = Fleet(channel, link)
        self.outbox = Outbox(channel, link, gateway_id=gateway_id, observe=observe)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        target: str,
        *,
        timers: Timers,
        token: str,
        gateway_id: str,
        observe: Callable[[Report], None] | None = None,
        place: Path | None = None,
    ) -> AsyncIterator[Self]:
        """Yield a client of the controller at HOST:PORT; it dials with the first call.

        *observe* is told of every attempt at a callback once the controller has heard of it.
        *place* holds the certificate to show instead of the token.
        """
        if place is not None:
            scale = timers.relist / Timers().relist
            joined = standing(place, target, timers, clock=SystemClock(), scale=scale)
            async with joined as certified:
                channel = cast("grpc.aio.Channel", certified)
                yield cls(channel, token="", gateway_id=gateway_id, observe=observe)
            return
        async with open_channel(target, timers) as channel:
            yield cls(channel, token=token, gateway_id=gateway_id, observe=observe)

    async def lease(
        self, *, limit: int, wait_seconds: float
    ) -> tuple[list[Delivery], list[Report]]:
        """Return due deliveries, waiting for the first, and reports on any that cannot be read."""
        return await self.outbox.lease(limit=limit, wait_seconds=wait_seconds)

    async def report(self, reports: Sequence[Report]) -> int:
        """Settle attempts; return how many were taken (a lost lease is not)."""
        return await self.outbox.report(reports)
