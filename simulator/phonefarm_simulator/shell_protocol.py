"""The packets of shell protocol v2: one byte of id, four of length, the data.

Source: AOSP packages/modules/adb, shell_protocol.h.
"""

import enum
import struct

from phonefarm_simulator.adb_stream import BufferedReader, Stream

HEADER = struct.Struct("<BI")
LARGEST_INPUT_BYTES = 1024 * 1024


class Id(enum.IntEnum):
    """What a packet carries."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


class ShellPackets:
    """A command's three streams and its exit status over one adb stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = BufferedReader(stream)
        self._input_ended = False

    async def write_out(self, data: bytes) -> None:
        """Send output."""
        await self._write(Id.STDOUT, data)

    async def write_error(self, data: bytes) -> None:
        """Send error output."""
        await self._write(Id.STDERR, data)

    async def exit(self, status: int) -> None:
        """Send the exit status."""
        await self._write(Id.EXIT, bytes([status & 0xFF]))

    async def read(self) -> bytes:
        """Return the next bytes of the input, empty at its end; raise StreamClosedError."""
        while not self._input_ended:
            kind, length = HEADER.unpack(await self._reader.exactly(HEADER.size))
            if length > LARGEST_INPUT_BYTES:
                break
            data = await self._reader.exactly(length)
            if kind == Id.CLOSE_STDIN:
                break
            if kind == Id.STDIN and data:
                return data
        self._input_ended = True
        return b""

    async def _write(self, kind: Id, data: bytes) -> None:
        if data:
            await self._stream.write(HEADER.pack(kind, len(data)) + data)


class PlainInput:
    """The input of a version 1 shell or an exec: the stream's plain bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        """Return the next bytes, empty once the peer closed."""
        return await self._stream.read()
