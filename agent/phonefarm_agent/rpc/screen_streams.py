"""Answers tickets: brings a screen to the controller where somebody waits to see it."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.channel import ClientTls, open_channel
from phonefarm_common.timers import Timers

from phonefarm_agent.model.screen import ScreenRefusedError, ViewEnded
from phonefarm_agent.phones.screen.screens import Screens
from phonefarm_agent.phones.screen.viewer import Viewer
from phonefarm_agent.rpc import screen_convert as convert

MOST_STREAMS: Final = 64
MOST_REMEMBERED: Final = 1000
DIAL_SECONDS: Final = 10.0
"""How long one controller may take to answer before the next is tried."""

log = structlog.get_logger()

Stream: TypeAlias = "grpc.aio.StreamStreamCall[pb.ScreenReport, pb.ScreenOrder]"


@dataclass(frozen=True, kw_only=True)
class Controllers:
    """The controllers to try in this order, HOST:PORT each, and how to call them."""

    targets: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    secured: ClientTls | None


class _UnknownTicketError(Exception):
    """This controller does not have the ticket, or does not answer."""


class ScreenStreams:
    """Serves each ticket once, on a connection of its own, so that video delays no heartbeat."""

    def __init__(
        self,
        *,
        screens: Screens,
        timers: Timers,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._screens = screens
        self._timers = timers
        self._tasks = tasks
        self._answered: dict[str, None] = {}
        self._streams: set[asyncio.Task[None]] = set()

    def answer(self, tickets: Iterable[str], controllers: Controllers) -> None:
        """Serve the tickets that are new at whichever of *controllers* has them."""
        for ticket in tickets:
            if ticket in self._answered:
                continue
            if len(self._streams) >= MOST_STREAMS:
                log.warning("screen.ticket_left", streams=len(self._streams))
                return
            self._answered[ticket] = None
            while len(self._answered) > MOST_REMEMBERED:
                del self._answered[next(iter(self._answered))]
            task = self._tasks.create_task(self._serve(ticket, controllers), name="screen-stream")
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)

    async def _serve(self, ticket: str, controllers: Controllers) -> None:
        for target in controllers.targets:
            try:
                await self._serve_at(target, ticket, controllers)
            except _UnknownTicketError:
                continue
            except grpc.aio.AioRpcError as error:
                log.info("screen.stream_cut", controller=target, code=error.code().name)
            return
        log.warning("screen.ticket_unknown", controllers=controllers.targets)

    async def _serve_at(self, target: str, ticket: str, controllers: Controllers) -> None:
        async with open_channel(target, self._timers, controllers.secured) as channel:
            stub = agent_pb2_grpc.AgentServiceStub(channel)
            stream: Any = stub.ServeScreen(None, metadata=controllers.metadata)
            try:
                order = await self._first_order(stream, ticket)
                await self._follow(stream, order)
                await stream.done_writing()
            finally:
                stream.cancel()

    async def _first_order(self, stream: Stream, ticket: str) -> pb.ScreenOrder:
        """Show the ticket and return what is wanted for it."""

        async def ask() -> pb.ScreenOrder | object:
            await stream.write(pb.ScreenReport(ticket=ticket))
            return await stream.read()

        # A read is never cut by a timeout (grpc/grpc#43360); the call is cancelled instead.
        asking = asyncio.create_task(ask())
        await asyncio.wait({asking}, timeout=DIAL_SECONDS)
        if not asking.done():
            stream.cancel()
        try:
            order = await asking
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise _UnknownTicketError from error
        if not isinstance(order, pb.ScreenOrder):
            raise _UnknownTicketError
        return order

    async def _follow(self, stream: Stream, order: pb.ScreenOrder) -> None:
        try:
            match order.WhichOneof("body"):
                case "view":
                    await self._view(stream, order.view)
                case "still":
                    wanted = order.still
                    still = await self._screens.still(
                        wanted.serialno,
                        png=wanted.format == convert.PNG,
                        tree=wanted.tree,
                    )
                    await stream.write(convert.still_to_wire(still))
                case "thumbnails":
                    await self._thumbnails(stream, order.thumbnails)
                case _:
                    unknown = "the agent does not know this kind of order: upgrade the agent"
                    refused = ScreenRefusedError("no_answer", unknown)
                    await stream.write(convert.refused_to_wire(refused))
        except ScreenRefusedError as error:
            log.info("screen.refused", reason=error.reason)
            await stream.write(convert.refused_to_wire(error))

    async def _view(self, stream: Stream, order: pb.ServeView) -> None:
        async with self._screens.view(
            order.serialno, mode=convert.mode_of(order), quality=convert.quality_of(order)
        ) as viewer:
            await _until_either(_show(stream, viewer), _hear(stream, viewer))

    async def _thumbnails(self, stream: Stream, order: pb.ServeThumbnails) -> None:
        wanted = tuple(order.serialnos)

        async def hear() -> None:
            nonlocal wanted
            while isinstance(newer := await stream.read(), pb.ScreenOrder):
                if newer.WhichOneof("body") == "thumbnails":
                    wanted = tuple(newer.thumbnails.serialnos)

        async def show() -> None:
            async for each in self._screens.thumbnails.watch(lambda: wanted):
                await stream.write(convert.thumbnail_to_wire(each))

        await _until_either(hear(), show())


async def _until_either(*coroutines: Coroutine[None, None, None]) -> None:
    """Run them until one ends, and raise what it raises."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    except asyncio.InvalidStateError:
        return  # grpc.aio says this when writing to a call that is already over
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show(stream: Stream, viewer: Viewer) -> None:
    """Send what the viewer sees, to the end of the view."""
    while True:
        event = await viewer.next()
        await stream.write(convert.event_to_wire(event))
        if isinstance(event, ViewEnded):
            return


async def _hear(stream: Stream, viewer: Viewer) -> None:
    """Apply what the viewer does until it leaves."""
    while isinstance(order := await stream.read(), pb.ScreenOrder):
        match order.WhichOneof("body"):
            case "input":
                wanted = order.input
                viewer.control(run_id=wanted.run_id, epoch=wanted.epoch, data=wanted.control)
            case "key_frame":
                viewer.want_key_frame()
            case _:
                pass  # from a newer controller
