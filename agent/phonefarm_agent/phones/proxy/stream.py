"""One socket of the proxy, which asks the gate right before each write.

asyncio's own streams keep bytes in a buffer and write them when they find the time, so a process
that was frozen past the deadline and thawed would still write them. Here the clock is read, then
`send(2)` is called, with nothing in between; what the socket does not take is asked for again.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from phonefarm_agent.phones.proxy.gate import Gate, GateClosedError

CHUNK = 64 * 1024
FINISH_SECONDS = 0.5
REQUEST_LIMIT = 16 * 1024
"""The longest request that is accepted; the protocol allows 65535 (four hex digits)."""


class AdbProtocolError(Exception):
    """The peer does not speak the adb server protocol; the text says what was wrong."""


class GatedSocket:
    """A non-blocking stream socket that asks the gate before each write."""

    def __init__(self, sock: socket.socket, gate: Gate) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._gate = gate
        self._waiters: set[asyncio.Future[None]] = set()
        self._ended: str | None = None
        gate.listen(self, self.abort)

    def abort(self, reason: str) -> None:
        """Close at once and drop the kernel's unsent bytes; wake all waiting calls."""
        if self._ended is None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self._end(reason)

    def close(self) -> None:
        """Close; bytes already written still reach the peer. Closing twice is harmless."""
        self._gate.forget(self)
        if self._ended is None:
            self._end("closed")

    def _end(self, reason: str) -> None:
        self._ended = reason
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(GateClosedError(reason))

    async def receive(self, most: int = CHUNK) -> bytes:
        """Return 1 to *most* bytes, b"" at the end of the stream.

        Raises GateClosedError when the gate closed meanwhile, ConnectionError as sockets do.
        """
        await asyncio.sleep(0)  # a peer that always has bytes must not starve the others
        while True:
            self._check_open()
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._until(loop.add_reader, loop.remove_reader)

    async def receive_exactly(self, count: int) -> bytes:
        """Return *count* bytes; raise EOFError when the stream ends before."""
        parts = bytearray()
        while len(parts) < count:
            part = await self.receive(min(CHUNK, count - len(parts)))
            if not part:
                raise EOFError(f"the stream ended after {len(parts)} of {count} bytes")
            parts += part
        return bytes(parts)

    async def send(self, data: bytes) -> None:
        """Write *data*; raise GateClosedError as soon as the gate refuses the next write."""
        rest = memoryview(data)
        while rest:
            self._check_open()
            try:
                self._gate.check()
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._until(loop.add_writer, loop.remove_writer)

    async def finish(self) -> None:
        """Shut down writing and read on for a moment, so that the peer can read to the end.

        Closing a socket with unread bytes resets the connection, and the last words may be lost.
        """
        with contextlib.suppress(GateClosedError, OSError, TimeoutError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(FINISH_SECONDS):
                while await self.receive():
                    pass

    def _check_open(self) -> None:
        if self._ended is not None:
            raise GateClosedError(self._ended)

    async def _until(
        self,
        add: Callable[..., None],
        remove: Callable[[socket.socket], bool],
    ) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        add(self._socket, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if self._ended is None:
                remove(self._socket)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def read_request(connection: GatedSocket) -> str:
    """Return the next request: four hex digits of length, then that many bytes of UTF-8.

    Source: AOSP packages/modules/adb, OVERVIEW.TXT. Raises AdbProtocolError for anything
    else and EOFError when the peer left.
    """
    length = await _read_length(connection)
    try:
        return (await connection.receive_exactly(length)).decode()
    except UnicodeDecodeError as error:
        raise AdbProtocolError("the request is not UTF-8") from error


async def _read_length(connection: GatedSocket) -> int:
    digits = await connection.receive_exactly(4)
    if any(digit not in b"0123456789abcdefABCDEF" for digit in digits):
        raise AdbProtocolError("the request does not begin with four hex digits")
    length = int(digits, 16)
    if length > REQUEST_LIMIT:
        raise AdbProtocolError(f"the request is longer than {REQUEST_LIMIT} bytes")
    return length


def framed(text: str) -> bytes:
    """Return *text* with its length in front, as requests and answers carry it."""
    data = text.encode()
    return f"{len(data):04x}".encode() + data


def okay(text: str) -> bytes:
    """Return an OKAY answer with *text*."""
    return b"OKAY" + framed(text)


def fail(reason: str) -> bytes:
    """Return a FAIL answer; *reason* is cut to 1000 characters."""
    return b"FAIL" + framed(reason[:1000])
