"""ScreenService: shows phones' screens, and takes the input of a person who holds one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import grpc.aio
from phonefarm.schemas import screens
from phonefarm.v1 import screen_pb2 as pb
from phonefarm.v1 import screen_pb2_grpc

from phonefarm_gateway.client import screen_convert
from phonefarm_gateway.client.calls import DuplexCall, RpcCaller

STILL_SECONDS: Final = 30.0
"""The limit for a still: an old phone takes 3 s for the picture, and 3 s for the tree."""

_MODES: Final = {"video": pb.VIEW_MODE_VIDEO, "stills": pb.VIEW_MODE_STILLS}
_QUALITIES: Final = {"normal": pb.VIEW_QUALITY_NORMAL, "low": pb.VIEW_QUALITY_LOW}
_FORMATS: Final = {"jpeg": pb.STILL_FORMAT_JPEG, "png": pb.STILL_FORMAT_PNG}

ScreenEvent: TypeAlias = screens.Frame | screens.Said


class ScreenView:
    """One phone's screen, open."""

    def __init__(self, call: DuplexCall[pb.ViewRequest, pb.ViewEvent]) -> None:
        self._call = call

    async def events(self) -> AsyncIterator[ScreenEvent]:
        """Yield what the phone shows until the view ends; RefusedError says why there is none."""
        async for message in self._call.answers():
            event = screen_convert.event(message)
            if event is not None:
                yield event

    async def control(self, message: bytes) -> None:
        """Send one control message of scrcpy."""
        await self._call.send(pb.ViewRequest(control=message))

    async def want_key_frame(self) -> None:
        """Ask for a key frame."""
        await self._call.send(pb.ViewRequest(key_frame=pb.KeyFrameWanted()))


class ThumbnailWatch:
    """Thumbnails of the phones that were asked for last."""

    def __init__(self, call: DuplexCall[pb.ThumbnailsRequest, pb.Thumbnail]) -> None:
        self._call = call

    async def show(self, phone_ids: tuple[str, ...]) -> None:
        """Ask for these phones from now on."""
        await self._call.send(pb.ThumbnailsRequest(phone_ids=phone_ids))

    async def thumbnails(self) -> AsyncIterator[screens.Picture]:
        """Yield each picture as it comes."""
        async for message in self._call.answers():
            yield screen_convert.thumbnail(message)


class ScreenClient:
    """Opens screens and thumbnails, and takes stills."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = screen_pb2_grpc.ScreenServiceStub(channel)
        self._rpc = rpc

    @asynccontextmanager
    async def view(
        self, key: str | None, phone_id: str, wanted: screens.Open
    ) -> AsyncIterator[ScreenView]:
        """Yield a view of the phone's screen; it ends with the block."""
        opening = pb.OpenView(
            phone_id=phone_id, mode=_MODES[wanted.mode], quality=_QUALITIES[wanted.quality]
        )
        async with self._rpc.duplex(self._stub.View, key=key) as call:
            await call.send(pb.ViewRequest(open=opening))
            yield ScreenView(call)

    @asynccontextmanager
    async def thumbnails(self, key: str | None) -> AsyncIterator[ThumbnailWatch]:
        """Yield a watch of no phone yet; it ends with the block."""
        async with self._rpc.duplex(self._stub.WatchThumbnails, key=key) as call:
            yield ThumbnailWatch(call)

    async def still(self, key: str | None, phone_id: str, kind: screens.StillKind) -> bytes:
        """Return a picture of the screen as JPEG or PNG."""
        request = pb.TakeStillRequest(phone_id=phone_id, format=_FORMATS[kind])
        answer = await self._rpc.call(self._stub.TakeStill, request, key=key, seconds=STILL_SECONDS)
        return answer.picture

    async def inspect(self, key: str | None, phone_id: str) -> screens.Inspection:
        """Return a picture of the screen and its elements, of the same moment."""
        request = pb.TakeStillRequest(phone_id=phone_id, format=pb.STILL_FORMAT_JPEG, tree=True)
        answer = await self._rpc.call(self._stub.TakeStill, request, key=key, seconds=STILL_SECONDS)
        return screen_convert.inspection(answer)
