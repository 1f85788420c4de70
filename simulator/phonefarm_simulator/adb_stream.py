"""One stream of an adb connection: bytes both ways, one packet in flight each way."""

import asyncio
import collections
from collections.abc import Awaitable, Callable

from phonefarm_simulator.adb_packets import Command, Packet

CHUNK_BYTES = 64 * 1024
PACKETS_AHEAD = 2
"""The most unacknowledged WRTE packets; the protocol allows a peer one."""


class StreamClosedError(Exception):
    """The stream or its connection is closed."""


class Stream:
    """One stream of a connection; `number` is our id for it, `peer` the other side's."""

    def __init__(
        self,
        *,
        number: int,
        peer: int,
        send: Callable[[Packet], Awaitable[None]],
        delay_seconds: Callable[[], float],
        largest_payload: int,
    ) -> None:
        self.number = number
        self.peer = peer
        self._send = send
        self._delay_seconds = delay_seconds
        self._chunk = min(CHUNK_BYTES, largest_payload)
        self._incoming: collections.deque[bytes] = collections.deque()
        self._arrived = asyncio.Event()
        self._may_write = asyncio.Event()
        self._closed = asyncio.Event()

    async def opened(self) -> None:
        """Return once the peer has taken the stream that we opened; StreamClosedError if not."""
        await self._turn_to_write()

    async def accept(self) -> None:
        """Tell the peer the stream is open."""
        self._may_write.set()
        await self._send(self._packet(Command.OKAY))

    async def write(self, data: bytes) -> None:
        """Send `data`, each packet once the one before was taken; raise StreamClosedError."""
        for start in range(0, len(data), self._chunk):
            await self._turn_to_write()
            delay = self._delay_seconds()
            if delay > 0:
                await asyncio.sleep(delay)
            self._may_write.clear()
            await self._send(self._packet(Command.WRTE, data[start : start + self._chunk]))

    async def read(self) -> bytes:
        """Return the next packet's bytes and let the peer send another; empty once closed."""
        while not self._incoming:
            if self._closed.is_set():
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._incoming.popleft()
        if not self._closed.is_set():
            await self._send(self._packet(Command.OKAY))
        return data

    async def finish(self) -> None:
        """Wait until the last packet was taken, then close."""
        if self._closed.is_set():
            return
        try:
            await self._turn_to_write()
        except StreamClosedError:
            return
        self.break_off()
        await self._send(self._packet(Command.CLSE))

    def take(self, data: bytes) -> bool:
        """Keep a packet for `read`; False when the peer sent it out of turn."""
        if self._closed.is_set():
            return True
        if len(self._incoming) >= PACKETS_AHEAD:
            return False
        self._incoming.append(data)
        self._arrived.set()
        return True

    def take_okay(self) -> None:
        """Record that the peer took our last packet."""
        self._may_write.set()

    def break_off(self) -> None:
        """Record that the peer closed or the connection is gone."""
        self._closed.set()
        self._may_write.set()
        self._arrived.set()

    async def closed(self) -> None:
        """Return once the stream is closed from either side."""
        await self._closed.wait()

    async def _turn_to_write(self) -> None:
        await self._may_write.wait()
        if self._closed.is_set():
            raise StreamClosedError

    def _packet(self, command: Command, payload: bytes = b"") -> Packet:
        return Packet(command=command, arg0=self.number, arg1=self.peer, payload=payload)


class BufferedReader:
    """Reads exact lengths from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def exactly(self, length: int) -> bytes:
        """Return so many bytes; raise StreamClosedError when the stream ends before."""
        while len(self._buffer) < length:
            more = await self._stream.read()
            if not more:
                raise StreamClosedError
            self._buffer += more
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data
