"""Endpoints of screens: live views and thumbnails by WebSocket, their tickets, and stills."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm.schemas import responses
from phonefarm.schemas.queries import NoQuery
from phonefarm.schemas.screens import (
    Ended,
    Frame,
    Inspection,
    KeyFrame,
    Open,
    Said,
    Show,
    StillQuery,
)
from phonefarm_common.frame_queue import FrameQueue

from phonefarm_gateway.client.screens import ScreenView, ThumbnailWatch
from phonefarm_gateway.rest.app_keys import CONTROLLER
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.rest.sockets import Socket, serve_socket, understood, until_first_ends
from phonefarm_gateway.rest.ticket_answer import ticket_answer
from phonefarm_gateway.strict_json import dump

TICKET_TIME: Final = timedelta(seconds=30)
ASK_SECONDS: Final = 1.0
"""A phone is asked for a key frame at most once in this time."""
_SCOPE: Final = "watch"
_THUMBNAILS: Final = "thumbnails"
_TAG: Final = "Screens"


async def view_screen(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Show a phone's screen, and take the input of a person who holds it."""
    phone_id = call.path["phone_id"]

    async def talk(socket: Socket, key: str, wanted: Open) -> None:
        async with call.request.app[CONTROLLER].screens.view(key, phone_id, wanted) as view:
            queue: FrameQueue[Frame | Said | None] = FrameQueue()
            await until_first_ends(
                _collect(view, queue), _show(socket, queue), _listen(socket, view)
            )

    return await serve_socket(call.request, Open, _purpose(phone_id), talk)


async def _collect(view: ScreenView, queue: FrameQueue[Frame | Said | None]) -> None:
    """Queue what comes; a viewer that reads slowly misses frames up to the next key frame."""
    loop = asyncio.get_running_loop()
    may_ask_at = 0.0
    async for event in view.events():
        if not isinstance(event, Frame):
            queue.put(event)
        elif queue.put_frame(event, key=event.key) and loop.time() >= may_ask_at:
            may_ask_at = loop.time() + ASK_SECONDS
            await view.want_key_frame()
    queue.put(None)
    await asyncio.get_running_loop().create_future()  # `_show` ends when it has shown all


async def _show(socket: Socket, queue: FrameQueue[Frame | Said | None]) -> None:
    while (event := await queue.get()) is not None:
        if isinstance(event, Frame):
            await socket.show(event.encoded())
            continue
        await socket.say(dump(event.rendered()))
        if isinstance(event, Ended):
            return


async def _listen(socket: Socket, view: ScreenView) -> None:
    """Pass on what the viewer sends, until they close. Binary is input, as scrcpy has it."""
    while (message := await socket.next()) is not None:
        if isinstance(message, bytes):
            await view.control(message)
        else:
            understood(KeyFrame, message)
            await view.want_key_frame()


async def watch_thumbnails(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Show small pictures of the phones that the caller names."""

    async def talk(socket: Socket, key: str, wanted: Show) -> None:
        async with call.request.app[CONTROLLER].screens.thumbnails(key) as watch:
            await watch.show(tuple(wanted.phone_ids))
            await until_first_ends(_show_thumbnails(socket, watch), _ask(socket, watch))

    return await serve_socket(call.request, Show, _THUMBNAILS, talk)


async def _show_thumbnails(socket: Socket, watch: ThumbnailWatch) -> None:
    async for picture in watch.thumbnails():
        about = dump(picture.about.rendered()).encode()
        await socket.show(len(about).to_bytes(2, "big") + about + picture.jpeg)


async def _ask(socket: Socket, watch: ThumbnailWatch) -> None:
    while (message := await socket.next()) is not None:
        await watch.show(tuple(understood(Show, message).phone_ids))


async def make_screen_ticket(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return a ticket for the first message of a phone's socket."""
    return ticket_answer(call, purpose=_purpose(call.path["phone_id"]), life=TICKET_TIME)


async def make_thumbnail_ticket(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return a ticket for the first message of the thumbnails' socket."""
    return ticket_answer(call, purpose=_THUMBNAILS, life=TICKET_TIME)


def _purpose(phone_id: str) -> str:
    return f"screen of {phone_id}"


async def get_still(call: Call[StillQuery, NoBody]) -> web.StreamResponse:
    """Return a picture of the screen as it is now."""
    kind = call.query.format
    headers = {
        hdrs.CONTENT_TYPE: f"image/{kind}",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{call.path["phone_id"]}.{kind}"',
        hdrs.CACHE_CONTROL: "no-store",
        # The bytes come from what an app shows: no browser may take them for a page of ours.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if call.request.method == hdrs.METH_HEAD:
        await call.controller.processes.check_key(call.key, scope=_SCOPE)
        return web.Response(headers=headers)
    picture = await call.controller.screens.still(call.key, call.path["phone_id"], kind)
    return web.Response(body=picture, headers=headers)


async def inspect_screen(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return a picture of the screen, and its elements."""
    response = reply(await call.controller.screens.inspect(call.key, call.path["phone_id"]))
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


_UNAVAILABLE: Final = {
    HTTPStatus.NOT_FOUND: "`unknown_phone`",
    HTTPStatus.CONFLICT: (
        "`screen_unavailable:<why>`: agent_away, no_answer, phone_away, screens_off, run_on_phone "
        "or failed"
    ),
}
_SOCKET_PROBLEMS: Final = {
    HTTPStatus.FORBIDDEN: "`foreign_origin`: a page on another site used the console's cookie",
    HTTPStatus.UPGRADE_REQUIRED: "`upgrade_required`: the request does not open a WebSocket",
}
_OPENED: Final = {
    HTTPStatus.SWITCHING_PROTOCOLS: ResponseSpec(about="The socket is open.", media_types=())
}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/phones/{phone_id}/screen",
        name="viewScreen",
        tag=_TAG,
        summary="Watch a phone's screen over a WebSocket, and drive a phone that you hold",
        about=(
            "docs/rest.md describes the messages. Authenticate with the console's cookie, or with "
            "a ticket in the first message. The key needs the scope `watch`; to send input, it "
            "also needs the scope `operate` and must hold the phone. The gateway closes the "
            "socket with 4401 if the key is not valid, and with 4403 if the key lacks the scope."
        ),
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers=_OPENED,
        problems=_SOCKET_PROBLEMS | {HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`"},
        handler=view_screen,
    ),
    Endpoint(
        method="GET",
        path="/thumbnails",
        name="watchThumbnails",
        tag=_TAG,
        summary="Watch small pictures of many phones over a WebSocket",
        about=(
            "docs/rest.md describes the messages. Authenticate as for a phone's screen. The key "
            "needs the scope `watch`."
        ),
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers=_OPENED,
        problems=_SOCKET_PROBLEMS,
        handler=watch_thumbnails,
    ),
    Endpoint(
        method="POST",
        path="/phones/{phone_id}/screen/tickets",
        name="makeScreenTicket",
        tag=_TAG,
        summary="Create a ticket for the first message of a screen's WebSocket",
        about=(
            "The ticket replaces the key of this request. It works once, within 30 s, and only for "
            "this phone."
        ),
        scope=_SCOPE,
        checks_key=True,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.CREATED: ResponseSpec(about="The ticket.", models=(responses.Ticket,))},
        handler=make_screen_ticket,
    ),
    Endpoint(
        method="POST",
        path="/thumbnails/tickets",
        name="makeThumbnailTicket",
        tag=_TAG,
        summary="Create a ticket for the first message of the thumbnails' WebSocket",
        about="The ticket replaces the key of this request. It works once, within 30 s.",
        scope=_SCOPE,
        checks_key=True,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.CREATED: ResponseSpec(about="The ticket.", models=(responses.Ticket,))},
        handler=make_thumbnail_ticket,
    ),
    Endpoint(
        method="GET",
        path="/phones/{phone_id}/still",
        name="getStill",
        tag=_TAG,
        summary="Take a picture of a phone's screen",
        scope=_SCOPE,
        query=StillQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The picture.", media_types=("image/jpeg", "image/png")
            )
        },
        problems=_UNAVAILABLE,
        handler=get_still,
    ),
    Endpoint(
        method="GET",
        path="/phones/{phone_id}/inspection",
        name="inspectScreen",
        tag=_TAG,
        summary="Take a picture of a phone's screen, and list the screen's elements",
        scope=_SCOPE,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The picture and the elements, from the same moment.", models=(Inspection,)
            )
        },
        problems=_UNAVAILABLE,
        handler=inspect_screen,
    ),
)
