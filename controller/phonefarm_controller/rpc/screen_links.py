"""AgentService.ServeScreen: the agent's end of a link."""

import asyncio
from typing import Final, TypeAlias

from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1.screen_pb2 import KeyFrameWanted

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.rpc.auth import peer_certificate
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.screens.links import Link, Links

KEY_FRAME: Final = KeyFrameWanted()
ScreenLink: TypeAlias = Link[pb.ScreenOrder, pb.ScreenReport]
ScreenLinks: TypeAlias = Links[pb.ScreenOrder, pb.ScreenReport]


class ViewOver(Exception):  # noqa: N818 - an ending, not an error
    """The viewer has left, or was told the end."""


async def serve_screen(links: ScreenLinks, context: Context) -> None:
    """Pass on what the agent reports and what the viewer orders, until either of them ends it."""
    first = await context.read()
    if not isinstance(first, pb.ScreenReport):
        return
    if first.WhichOneof("body") != "ticket":
        raise invalid_field("ticket", "must come first")
    shown = peer_certificate(context)
    link = links.take(first.ticket, agent_id=None if shown is None else shown.member_id)
    tasks = [
        asyncio.create_task(_read(link, context), name="screen-reports"),
        asyncio.create_task(_write(link, context), name="screen-orders"),
        asyncio.create_task(link.left.wait(), name="screen-left"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        link.reports.put(None)


async def _read(link: ScreenLink, context: Context) -> None:
    """Queue what the agent reports; when frames are dropped, ask it for a key frame."""
    while isinstance(report := await context.read(), pb.ScreenReport):
        frame = report.event.frame if report.HasField("event") else None
        if frame is None or report.event.WhichOneof("body") != "frame":
            link.reports.put(report)
        elif link.reports.put_frame(report, key=frame.key) and not link.orders.full():
            link.orders.put_nowait(pb.ScreenOrder(key_frame=KEY_FRAME))


async def _write(link: ScreenLink, context: Context) -> None:
    while True:
        await _write_order(context, await link.orders.get())


@uninterrupted
async def _write_order(context: Context, order: pb.ScreenOrder) -> None:
    # A call whose handler leaves a write behind cannot be ended: gRPC refuses to send the status
    # (GRPC_CALL_ERROR_TOO_MANY_OPERATIONS), and the agent would wait for it without end.
    await context.write(order)
