"""Those who watch screens over gRPC, and an agent's end of it that a test plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
from phonefarm.v1 import agent_pb2, agent_pb2_grpc
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.channel import bearer
from support.controller import AGENT_TOKEN, KEY, PATIENCE, Farm, PlayedAgent

EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs


class ViewCall:
    """One viewer's call."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self, *kinds: str) -> Any:
        """Return the next event of *kinds* (any if none is named), as its own message."""
        async with asyncio.timeout(PATIENCE):
            while True:
                event = await self.call.read()
                assert event is not EOF, await self.ending()
                kind = event.WhichOneof("body")
                if not kinds or kind in kinds:
                    return getattr(event, kind)

    async def control(self, data: bytes) -> None:
        """Send a control message."""
        await self.call.write(pb.ViewRequest(control=data))

    async def ending(self) -> tuple[str, str]:
        """Return code and text of the call's end, once it has come."""
        async with asyncio.timeout(PATIENCE):
            with suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not EOF:
                    pass
            code: grpc.StatusCode = await self.call.code()
            return code.name, await self.call.details()


@asynccontextmanager
async def viewing(
    farm: Farm,
    phone_id: str,
    *,
    key: str = KEY,
    mode: pb.ViewMode.ValueType = pb.VIEW_MODE_VIDEO,
) -> AsyncIterator[ViewCall]:
    """Watch a phone's screen until the block ends."""
    call = farm.screens.View(metadata=bearer(key))
    await call.write(pb.ViewRequest(open=pb.OpenView(phone_id=phone_id, mode=mode)))
    try:
        yield ViewCall(call)
    finally:
        call.cancel()


class ServeCall:
    """The agent's end of a screen, played by a test."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def order(self, kind: str) -> Any:
        """Return the next order of a kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                order = await self.call.read()
                assert order is not EOF
                if order.WhichOneof("body") == kind:
                    return getattr(order, kind)

    async def show(self, data: bytes, *, key: bool = False) -> None:
        """Send a frame."""
        frame = pb.VideoFrame(data=data, key=key)
        await self.report(event=pb.ViewEvent(frame=frame))

    async def info(self) -> None:
        """Send how the frames are to be read."""
        info = pb.StreamInfo(mode=pb.VIEW_MODE_VIDEO, codec="avc1.42c01f", width=576, height=1280)
        await self.report(event=pb.ViewEvent(info=info))

    async def report(self, **body: Any) -> None:
        """Send a report."""
        await self.call.write(agent_pb2.ScreenReport(**body))

    async def ended(self) -> grpc.StatusCode:
        """Return how the controller ended it; what it said before is read."""
        async with asyncio.timeout(PATIENCE):
            with suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not EOF:
                    pass
            code: grpc.StatusCode = await self.call.code()
            return code


async def ticket_of(agent: PlayedAgent) -> str:
    """Return the newest ticket that the agent hears of."""
    seen: set[str] = getattr(agent, "tickets", set())
    agent.tickets = seen  # type: ignore[attr-defined] # which this agent has answered
    async with asyncio.timeout(PATIENCE):
        while True:
            for wanted in (await agent.hear("desired")).screens:
                if wanted.ticket not in seen:
                    seen.add(wanted.ticket)
                    return str(wanted.ticket)


@asynccontextmanager
async def serving_at(farm: Farm, ticket: str) -> AsyncIterator[ServeCall]:
    """Come to a controller with a ticket."""
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    call = stub.ServeScreen(metadata=bearer(AGENT_TOKEN))
    await call.write(agent_pb2.ScreenReport(ticket=ticket))
    try:
        yield ServeCall(call)
    finally:
        call.cancel()


@asynccontextmanager
async def serving(farm: Farm, agent: PlayedAgent) -> AsyncIterator[ServeCall]:
    """Answer the next ticket as the agent does."""
    async with serving_at(farm, await ticket_of(agent)) as call:
        yield call
