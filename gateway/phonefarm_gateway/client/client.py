"""The gateway's client of the controllers: a part for each gRPC service."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, cast

import grpc.aio
from phonefarm_common.channel import check_plaintext, open_channel
from phonefarm_common.clock import SystemClock
from phonefarm_common.endpoints import EndpointSelector
from phonefarm_common.failover import FailoverChannel
from phonefarm_common.timers import Timers

from phonefarm_gateway.client.access import AccessClient
from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.channel import member_channel
from phonefarm_gateway.client.content import ContentClient
from phonefarm_gateway.client.deliveries import DeliveryClient
from phonefarm_gateway.client.fleet import FleetClient
from phonefarm_gateway.client.inspection import InspectionClient
from phonefarm_gateway.client.operator import OperatorClient
from phonefarm_gateway.client.processes import ProcessClient
from phonefarm_gateway.client.retry_policy import repeatable
from phonefarm_gateway.client.schedules import ScheduleClient
from phonefarm_gateway.client.screens import ScreenClient
from phonefarm_gateway.delivery import AttemptReport


class ControllerClient:
    """Has a part for each service; each call takes the caller's key, except in `deliveries`."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str,
        gateway_id: str,
        signs: bool,
        observe: Callable[[AttemptReport], None] | None = None,
    ) -> None:
        rpc = RpcCaller(token=token)
        self.processes = ProcessClient(channel, rpc)
        self.schedules = ScheduleClient(channel, rpc)
        self.inspection = InspectionClient(channel, rpc)
        self.content = ContentClient(channel, rpc)
        self.fleet = FleetClient(channel, rpc)
        self.operator = OperatorClient(channel, rpc)
        self.screens = ScreenClient(channel, rpc)
        self.access = AccessClient(channel, rpc)
        self.deliveries = DeliveryClient(
            channel, rpc, gateway_id=gateway_id, signs=signs, observe=observe
        )

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        targets: tuple[str, ...],
        *,
        timers: Timers,
        token: str,
        gateway_id: str,
        signs: bool,
        observe: Callable[[AttemptReport], None] | None = None,
        state: Path | None = None,
    ) -> AsyncIterator[Self]:
        """Yield a client of the controllers at these HOST:PORT; it connects with the first call.

        *signs* says whether this gateway signs callbacks; the doctor of the controller tells.
        It calls *observe* for every attempt whose report a controller has taken. *state* holds the
        certificate to use instead of the token, and the controllers when *targets* is empty.
        ValueError for plaintext to a host that is not loopback.
        """
        clock = SystemClock()
        scale = timers.relist / Timers().relist
        async with AsyncExitStack() as stack:
            if state is not None:
                joined = member_channel(state, targets, timers, clock=clock, scale=scale)
                channel, token = await stack.enter_async_context(joined), ""
            else:
                for target in targets:
                    check_plaintext(target)
                channel = FailoverChannel(
                    EndpointSelector(targets, monotonic=clock.monotonic, scale=scale),
                    dial=partial(open_channel, timers=timers),
                    repeatable=repeatable,
                )
                stack.push_async_callback(channel.close)
            stubs = cast("grpc.aio.Channel", channel)
            yield cls(stubs, token=token, gateway_id=gateway_id, signs=signs, observe=observe)
