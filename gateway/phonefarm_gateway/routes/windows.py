"""Endpoints of windows: the weekly hours in which work may begin."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import examples, windows
from phonefarm.schemas.farm_requests import PutWindow, RemoveWindow
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

TAG: Final = "Operation"


async def list_windows(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every window."""
    return reply(await call.controller.fleet.windows(call.key))


async def put_window(call: Call[NoQuery, PutWindow]) -> web.StreamResponse:
    """Let work of a scope begin in weekly hours only."""
    return reply(await call.controller.fleet.put_window(call.key, call.body))


async def remove_window(call: Call[NoQuery, RemoveWindow]) -> web.StreamResponse:
    """Remove a window."""
    return reply(await call.controller.fleet.remove_window(call.key, call.body))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/windows",
        name="listWindows",
        tag=TAG,
        summary="List the windows: the weekly hours in which work may begin",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All windows.", models=(windows.WindowList,))},
        handler=list_windows,
    ),
    Endpoint(
        method="POST",
        path="/windows",
        name="putWindow",
        tag=TAG,
        summary="Set the weekly hours of an account, a phone, a group of phones or a capability",
        about="The window replaces an earlier window of the same scope. Runs in progress continue. "
        "Work that has a window waits without the farm's own limit on waiting, but still ends at "
        "the deadline that its caller gave.",
        scope="operate",
        query=NoQuery,
        body=PutWindow,
        example=examples.WINDOW,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The window, and whether it is open now.", models=(windows.Window,)
            )
        },
        handler=put_window,
    ),
    Endpoint(
        method="POST",
        path="/windows/remove",
        name="removeWindow",
        tag=TAG,
        summary="Remove a window; other windows remain",
        about="Work that waited for the window gets the farm's full limit on waiting again.",
        scope="operate",
        query=NoQuery,
        body=RemoveWindow,
        example=examples.NO_WINDOW,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The scope has no window.", models=(windows.WindowRemoved,)
            )
        },
        handler=remove_window,
    ),
)
