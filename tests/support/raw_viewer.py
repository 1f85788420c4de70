"""A viewer of a phone's screen that reads a frame only when it is asked to.

It speaks RFC 6455 itself: a WebSocket client would read ahead, and hide that nobody looks.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_TEXT, _PONG = 1, 10
_SMALL_BUFFER = 2048
_SMALL_SEGMENT = 536
"""With both, Linux keeps some 45 KB on the way; with its defaults over loopback it is 4 MB."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame as the gateway sends it."""

    microseconds: int
    key: bool
    data: bytes


class RawViewer:
    """One open socket; nothing is read but by `picture`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def picture(self) -> Picture:
        """Read up to the next frame; ConnectionError when the gateway has closed.

        TimeoutError when no frame comes for a long time: a dark display draws none.

        A pong goes first (RFC 6455, 5.5.3): the gateway's ping may wait behind many frames.
        """
        async with asyncio.timeout(180):
            return await self._next_picture()

    async def _next_picture(self) -> Picture:
        await self.send(_PONG, b"")
        while True:
            head, length = await self._reader.readexactly(2)
            if length > 125:
                size = 2 if length == 126 else 8
                length = int.from_bytes(await self._reader.readexactly(size), "big")
            body = await self._reader.readexactly(length)
            match head & 0xF:
                case 2:  # binary
                    key, at = struct.unpack(">BQ", body[:9])
                    return Picture(microseconds=at, key=key == 1, data=body[9:])
                case 8:  # close
                    raise ConnectionError(body.decode(errors="replace"))
                case 9:  # ping
                    await self.send(_PONG, body)
                case _:  # what the gateway says in words
                    pass

    async def send(self, kind: int, body: bytes) -> None:
        """Send one frame; the mask that a client must use is zero."""
        self._writer.write(bytes([0x80 | kind, 0x80 | len(body), 0, 0, 0, 0]) + body)
        await self._writer.drain()


@asynccontextmanager
async def raw_viewer(
    rest: str, phone_id: str, ticket: str, *, small: bool = False
) -> AsyncIterator[RawViewer]:
    """Yield a viewer of a phone, by a ticket for its screen; a *small* connection holds little."""
    host, _, port = rest.rpartition(":")
    connection = socket.socket()
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_SEGMENT)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096 if small else 2**18)
    try:
        writer.write(
            f"GET /phones/{phone_id}/screen HTTP/1.1\r\nHost: {rest}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        it = RawViewer(reader, writer)
        await it.send(_TEXT, f'{{"type":"open","ticket":"{ticket}"}}'.encode())
        yield it
    finally:
        writer.close()
