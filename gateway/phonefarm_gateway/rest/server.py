"""Listens for connections: limits their number, and closes idle and unread ones."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import web
from phonefarm_common.config import shown_address
from phonefarm_common.lifecycle import listener_of_every_address

from phonefarm_gateway.rest.problems import RETRY_AFTER_SECONDS, Problem
from phonefarm_gateway.rest.stalled_readers import StalledReaders

STOP_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 75.0
"""A connection is closed when no whole request head arrives on it for so long, the first included.

It is above the 60 s of common proxies: the proxy must close first, or it may send into a close.
"""
HANDSHAKE_SECONDS: Final = 10.0
"""The limit of a TLS handshake."""
LONGEST_REQUEST_LINE: Final = 64 * 1024
"""The limit in bytes. All filters of `GET /processes` have up to 42 KiB: 12 for a character."""
LONGEST_HEADER: Final = 8190
BACKLOG: Final = 512
PAUSE_SECONDS: Final = 1.0
_log = structlog.get_logger()


@asynccontextmanager
async def listening(
    application: web.Application,
    *,
    host: str,
    port: int,
    most: int,
    idle: float,
    stalled: float,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Yield HOST:PORT where *application* answers, on at most *most* connections at once.

    The next connection is answered 503 and closed; with *tls*, which counts handshakes too, it is
    closed at once. In seconds: *idle* closes a connection without a request, *stalled* one whose
    caller does not read the answer. At the end it accepts nothing more and gives requests under way
    STOP_SECONDS. OSError when the address is taken.
    """
    # aiohttp logs a stack for each connection that speaks no HTTP; our middleware logs the rest.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        application,
        access_log=None,
        shutdown_timeout=STOP_SECONDS,
        keepalive_timeout=idle,
        max_line_size=LONGEST_REQUEST_LINE,
        max_field_size=LONGEST_HEADER,
        lingering_time=1.0,
    )
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - setup made it

    def accept() -> asyncio.BaseProtocol:
        return server() if len(server.connections) < most else _Refusal()

    loop = asyncio.get_running_loop()
    try:
        async with AsyncExitStack() as stack:
            options: dict[str, Any] = {"backlog": BACKLOG, "start_serving": tls is None}
            if host == "::":
                every = listener_of_every_address(port)
                listener = await loop.create_server(accept, sock=every, **options)
            else:
                listener = await loop.create_server(accept, host, port, **options)
            stack.callback(listener.close)
            watching = StalledReaders(server, patience=stalled).close_them()
            stack.push_async_callback(_end, loop.create_task(watching, name="stalled"))
            if tls is not None:
                links = [stack.enter_context(bound.dup()) for bound in listener.sockets]
                for link in links:
                    link.listen(BACKLOG)
                accepting = loop.create_task(_accept_tls(links, server, tls, most=most))
                stack.push_async_callback(_end, accepting)
            yield shown_address(*listener.sockets[0].getsockname()[:2])
    finally:
        await runner.cleanup()


async def _accept_tls(
    listeners: Iterable[socket.socket], server: web.Server, tls: ssl.SSLContext, *, most: int
) -> None:
    """Accept connections until cancelled; connections and handshakes together are at most *most*.

    asyncio's own server would take any number of callers who never finish their handshake.
    """
    handshakes: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def accept(listener: socket.socket) -> None:
        while True:
            try:
                link, _ = await loop.sock_accept(listener)
            except OSError as error:  # no file descriptor is left, for example
                _log.warning("connection.not_accepted", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if len(server.connections) + len(handshakes) >= most:
                link.close()
                continue
            handshake = group.create_task(_shake_hands(link, server, tls), name="handshake")
            handshakes.add(handshake)
            handshake.add_done_callback(handshakes.discard)

    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            group.create_task(accept(listener), name="accept")


async def _shake_hands(link: socket.socket, server: web.Server, tls: ssl.SSLContext) -> None:
    """Hand the connection to the server; nothing happens for a caller that speaks no TLS."""
    with suppress(OSError):  # SSLError and a handshake that takes too long are OSErrors
        await asyncio.get_running_loop().connect_accepted_socket(
            server, link, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Refusal(asyncio.Protocol):
    """Answers 503 and closes the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once: the request does not matter."""
        if not isinstance(transport, asyncio.Transport):
            return
        body = Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too_many_connections",
            "The gateway has reached its limit of open connections.",
        ).document()
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_AFTER_SECONDS}\r\n"
            "Connection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()
