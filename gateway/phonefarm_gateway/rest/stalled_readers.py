"""Closes connections whose caller does not read the response."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from aiohttp import web

STALLED_SECONDS: Final = 60.0
"""A caller may read nothing of a waiting response for this long, as in nginx's `send_timeout`."""
LOOKS: Final = 12
"""A connection is checked this many times in that time."""
# struct tcp_info of Linux' include/uapi/linux/tcp.h, since 4.6.
_ACKNOWLEDGED: Final = struct.Struct("=120xQ16xI")
_log = structlog.get_logger()


class _Sent(NamedTuple):
    acknowledged: int
    """Bytes that have arrived at the caller."""
    unsent: int
    """Bytes for which the caller's window has no room."""


@dataclass(kw_only=True)
class _Answer:
    transport: asyncio.Transport
    acknowledged: int
    still: int = 0
    """The number of checks in a row at which nothing more had arrived."""


class StalledReaders:
    """Watches the connections of one server."""

    def __init__(self, server: web.Server, *, patience: float) -> None:
        """Close the connections of *server* that stand still for *patience* seconds."""
        self._server = server
        self._patience = patience
        self._answers: dict[web.RequestHandler, _Answer] = {}

    async def close_them(self) -> None:
        """Look at every connection again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._patience / LOOKS)
            closed = self._look()
            if closed:
                _log.warning("connections.stalled", closed=closed, seconds=self._patience)

    def _look(self) -> int:
        """Close what stands still; return how many connections those were."""
        answers, closed = self._answers, 0
        self._answers = {}
        for handler in self._server.connections:
            known = answers.get(handler)
            # One that is closed waits for its reader too, and its handler has let go of it.
            transport = known.transport if known else handler.transport
            sent = None if transport is None else _sent(transport)
            if transport is None or sent is None:
                continue
            if known is None or not sent.unsent or sent.acknowledged != known.acknowledged:
                known = _Answer(transport=transport, acknowledged=sent.acknowledged)
            else:
                known.still += 1
            self._answers[handler] = known
            if known.still >= LOOKS:
                transport.abort()
                closed += 1
        return closed


def _sent(transport: asyncio.Transport) -> _Sent | None:
    """Return what has become of the bytes sent; None when the connection has ended."""
    link = transport.get_extra_info("socket")
    if link is None:
        return None
    with contextlib.suppress(OSError):
        told = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        return _Sent(*_ACKNOWLEDGED.unpack(told))
    return None
