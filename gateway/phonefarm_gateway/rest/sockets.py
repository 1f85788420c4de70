"""Web sockets (RFC 6455): who may open one, its first message, and how it ends.

The console's cookie counts at the upgrade, together with our own `Origin`: browsers let every page
open a socket to every host. Other callers send a ticket in the first message. No address has a key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from enum import IntEnum
from http import HTTPStatus
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any, Final, TypeVar

import structlog
from aiohttp import WSMsgType, hdrs, web
from phonefarm.schemas.fields import RequestModel
from phonefarm.schemas.screens import Ended
from phonefarm_common.reasons import Reason

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.app_keys import ORIGINS, STREAMS, TICKETS
from phonefarm_gateway.rest.credentials import open_session
from phonefarm_gateway.rest.problems import Problem
from phonefarm_gateway.rest.request_body import validated
from phonefarm_gateway.strict_json import NotAcceptableError, NotJsonError, dump, parse

FIRST_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 15.0
MOST_BYTES: Final = 300 * 1024
"""The size limit of a message: a clipboard has up to 262,130 bytes of text."""
UNSENT_BYTES: Final = 16 * 1024
"""The most unsent bytes of a slow caller's socket in this program; the kernel holds as many.

Unsent data is old when it arrives, and nothing can drop it any more. Without this limit, aiohttp
holds 256 KiB and Linux up to 4 MB: a minute of video.
"""
_LONGEST_REASON: Final = 120
"""The longest reason in bytes; a close frame has room for 123."""

_Model = TypeVar("_Model", bound=RequestModel)
_log = structlog.get_logger()


class CloseCode(IntEnum):
    """Why a socket was closed; those from 4000 on are ours (RFC 6455, 7.4.2)."""

    DONE = 1000
    NOT_UNDERSTOOD = 1008
    FAILED = 1011
    STOPPING = 1012
    TRY_LATER = 1013
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403


class SocketClosedError(Exception):
    """The socket must be closed, with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Socket:
    """An open socket: it waits for slow readers up to a limit, and reads viewers' messages."""

    def __init__(self, response: web.WebSocketResponse, patience: float) -> None:
        self._response = response
        self._patience = patience

    async def say(self, text: str) -> None:
        """Send a text message; ConnectionError when the caller is gone or does not read."""
        await self._send(self._response.send_str(text))

    async def show(self, data: bytes) -> None:
        """Send a binary message; ConnectionError when the caller is gone or does not read."""
        await self._send(self._response.send_bytes(data))

    async def next(self) -> str | bytes | None:
        """Return the next message; None when the caller has closed the socket."""
        message = await self._response.receive()
        match message.type:
            case WSMsgType.TEXT:
                return str(message.data)
            case WSMsgType.BINARY:
                return bytes(message.data)
            case _:
                return None

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await sending
        except TimeoutError as error:
            raise ConnectionError("the caller does not read what the gateway sends") from error


def understood(shape: type[_Model], message: str | bytes) -> _Model:
    """Return a text message as *shape*; SocketClosedError says what is wrong with it."""
    try:
        if isinstance(message, bytes):
            raise SocketClosedError(
                CloseCode.NOT_UNDERSTOOD, "this message must be text that contains JSON"
            )
        return validated(shape, parse(message.encode()))
    except (NotJsonError, NotAcceptableError) as error:
        raise SocketClosedError(
            CloseCode.NOT_UNDERSTOOD, f"the message is not JSON: {error}"
        ) from error
    except Problem as problem:
        raise SocketClosedError(CloseCode.NOT_UNDERSTOOD, problem.detail) from problem


async def serve_socket(
    request: web.Request,
    shape: type[_Model],
    purpose: str,
    talk: Callable[[Socket, str, _Model], Coroutine[Any, Any, None]],
) -> web.StreamResponse:
    """Open a socket, read its first message, and *talk* with the caller's key until it ends.

    *purpose* is what a ticket must be for. Problem 403 for a page of another site, and 426 for a
    request that opens no socket.
    """
    key = _cookie_key(request)
    response = web.WebSocketResponse(
        heartbeat=HEARTBEAT_SECONDS, max_msg_size=MOST_BYTES, compress=False, writer_limit=0
    )
    if not response.can_prepare(request).ok:
        raise Problem(
            HTTPStatus.UPGRADE_REQUIRED,
            "upgrade_required",
            "This URL is a WebSocket. Send the headers that open a WebSocket.",
            headers={hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "upgrade"},
        )
    await response.prepare(request)
    _keep_little(request)
    streams = request.app[STREAMS]
    socket = Socket(response, streams.limits.patience)
    code, reason = CloseCode.DONE, ""
    try:
        first = await _first(socket, shape)
        key = key or _ticket_key(request, first, purpose)
        with streams.slot():
            await until_first_ends(talk(socket, key, first), _stopped(streams.stopping))
    except SocketClosedError as closed:
        code, reason = closed.code, closed.reason
    except RefusedError as refused:
        code, reason = await _told(socket, refused)
    except Problem as problem:
        code, reason = CloseCode.TRY_LATER, problem.detail
    except ConnectionError:
        _log.info("socket.lost", purpose=purpose)
    await response.close(code=code, message=_short(reason))
    return response


async def until_first_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts together until one ends; cancel the others; raise what it raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _cookie_key(request: web.Request) -> str | None:
    """Return the key of the session; Problem 403 unless our own page opens the socket."""
    session = open_session(request)
    if session is None:
        return None
    own = request.app[ORIGINS].of(request)
    if own is None or request.headers.getall(hdrs.ORIGIN, []) != [own]:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "foreign_origin",
            "A page on another site tried to open this socket. The gateway accepts the console's "
            "cookie only from the console's own pages. If the gateway is behind a proxy, start it "
            "with --console-origin.",
        )
    return session.key


def _ticket_key(request: web.Request, first: RequestModel, purpose: str) -> str:
    ticket = getattr(first, "ticket", None) or ""
    key = request.app[TICKETS].take(ticket, purpose)
    if key is None:
        raise SocketClosedError(
            CloseCode.UNAUTHENTICATED,
            "log in to the console, or send a ticket that has not been used",
        )
    return key


async def _first(socket: Socket, shape: type[_Model]) -> _Model:
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            message = await socket.next()
    except TimeoutError:
        raise SocketClosedError(
            CloseCode.NOT_UNDERSTOOD, f"the caller sent no message within {FIRST_SECONDS:g} s"
        ) from None
    if message is None:
        raise ConnectionError("the caller has closed")
    return understood(shape, message)


def _keep_little(request: web.Request) -> None:
    """Let sending wait for a slow caller, instead of buffers that fill."""
    transport = request.transport
    if transport is None:
        return  # the caller is gone already: the first message says so
    transport.set_write_buffer_limits(high=UNSENT_BYTES)
    transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)


async def _stopped(stopping: asyncio.Event) -> None:
    await stopping.wait()
    raise SocketClosedError(CloseCode.STOPPING, "the gateway is stopping; connect again")


async def _told(socket: Socket, refused: RefusedError) -> tuple[CloseCode, str]:
    """Say why the controller refused; return the code and reason to close with."""
    match refused.reason:
        case Reason.UNAUTHENTICATED:
            code = CloseCode.UNAUTHENTICATED
        case Reason.INSUFFICIENT_SCOPE:
            code = CloseCode.FORBIDDEN
        case Reason.CONTROLLER_UNAVAILABLE | Reason.TOO_MANY_SCREENS:
            code = CloseCode.TRY_LATER
        case Reason.INTERNAL:
            code = CloseCode.FAILED
        case _:
            code = CloseCode.DONE
    ended = Ended(reason=refused.text, message=refused.message)
    with suppress(ConnectionError):
        await socket.say(dump(ended.rendered()))
    return code, f"{refused.text}: {refused.message}"


def _short(reason: str) -> bytes:
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore").encode()
