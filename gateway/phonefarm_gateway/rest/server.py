"""Listens for connections: so many at once, and none idle for long."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web

from phonefarm_gateway.rest.problems import RETRY_AFTER_SECONDS, Problem

STOP_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 75.0
"""A connection is closed when no whole request head arrives on it for so long, the first included.

It is above the 60 s of common proxies: the proxy must close first, or it may send into a close.
"""
LONGEST_LINE: Final = 8190
BACKLOG: Final = 512


@asynccontextmanager
async def listening(
    application: web.Application, *, host: str, port: int, most: int, idle: float
) -> AsyncIterator[str]:
    """Yield HOST:PORT where *application* answers, on at most *most* connections at once.

    The next connection is answered 503 and closed. *idle* is in seconds. At the end it accepts
    nothing more and gives requests under way STOP_SECONDS. OSError when the address is taken.
    """
    # aiohttp logs a stack for each connection that speaks no HTTP; our middleware logs the rest.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        application,
        access_log=None,
        shutdown_timeout=STOP_SECONDS,
        keepalive_timeout=idle,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        lingering_time=1.0,
    )
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - setup made it

    def accept() -> asyncio.BaseProtocol:
        return server() if len(server.connections) < most else _Refusal()

    try:
        listener = await asyncio.get_running_loop().create_server(
            accept, host, port, backlog=BACKLOG
        )
        try:
            shown, bound = listener.sockets[0].getsockname()[:2]
            yield f"[{shown}]:{bound}" if ":" in shown else f"{shown}:{bound}"
        finally:
            listener.close()
    finally:
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    """Answers 503 and closes the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once: the request does not matter."""
        if not isinstance(transport, asyncio.Transport):
            return
        body = Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too_many_connections",
            "The gateway has as many connections open as its limit allows.",
        ).document()
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_AFTER_SECONDS}\r\n"
            "Connection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()
