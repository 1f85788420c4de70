"""ScreenService in memory: a test writes what a phone shows, and reads what viewers send."""

# ruff: noqa: N802 - the protocol names the calls

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from gateway.support.refusing import Context, refuse
from phonefarm.v1 import screen_pb2 as pb
from phonefarm.v1 import screen_pb2_grpc

INFO = pb.ViewEvent(
    info=pb.StreamInfo(mode=pb.VIEW_MODE_VIDEO, codec="avc1.42e01f", width=540, height=1170)
)
_CHECK_SECONDS = 0.05


def frame(number: int, *, key: bool = False, size: int = 100) -> pb.ViewEvent:
    """Return a frame; its time is its number."""
    video = pb.VideoFrame(data=b"\x01" * size, key=key, timestamp_us=number)
    return pb.ViewEvent(frame=video)


class MemoryScreens(screen_pb2_grpc.ScreenServiceServicer):
    """One phone, whose screen a test plays; the key is looked up again while a view is open."""

    def __init__(self, admit: Callable[[Context, str], Awaitable[str]]) -> None:
        self._admit = admit
        self.shown: asyncio.Queue[pb.ViewEvent | None] = asyncio.Queue()
        self.opened: list[pb.OpenView] = []
        self.controls: asyncio.Queue[bytes] = asyncio.Queue()
        self.key_frames = 0
        self.open = 0
        self.asked: asyncio.Queue[list[str]] = asyncio.Queue()
        self.thumbnails: asyncio.Queue[pb.Thumbnail] = asyncio.Queue()
        self.still = pb.Still(picture=b"jpeg", width=1080, height=2340)
        self.refusal: tuple[grpc.StatusCode, str, str] | None = None

    async def View(
        self, requests: AsyncIterator[pb.ViewRequest], context: Context
    ) -> AsyncIterator[pb.ViewEvent]:
        """Show what the test puts into `shown`; None ends the view."""
        await self._admit(context, "watch")
        if self.refusal:
            await refuse(context, *self.refusal)
        self.opened.append((await anext(aiter(requests))).open)
        listening = asyncio.create_task(self._listen(requests))
        self.open += 1
        try:
            while True:
                try:
                    async with asyncio.timeout(_CHECK_SECONDS):
                        event = await self.shown.get()
                except TimeoutError:
                    await self._admit(context, "watch")
                    continue
                if event is None:
                    return
                yield event
        finally:
            self.open -= 1
            listening.cancel()

    async def _listen(self, requests: AsyncIterator[pb.ViewRequest]) -> None:
        async for request in requests:
            if request.WhichOneof("body") == "control":
                self.controls.put_nowait(request.control)
            else:
                self.key_frames += 1

    async def TakeStill(self, request: pb.TakeStillRequest, context: Context) -> pb.Still:
        """Return the still of the test."""
        await self._admit(context, "watch")
        if self.refusal:
            await refuse(context, *self.refusal)
        return self.still

    async def WatchThumbnails(
        self, requests: AsyncIterator[pb.ThumbnailsRequest], context: Context
    ) -> AsyncIterator[pb.Thumbnail]:
        """Show what the test puts into `thumbnails`."""
        await self._admit(context, "watch")

        async def ask() -> None:
            async for request in requests:
                self.asked.put_nowait(list(request.phone_ids))

        asking = asyncio.create_task(ask())
        try:
            while True:
                yield await self.thumbnails.get()
        finally:
            asking.cancel()
