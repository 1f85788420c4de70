"""An asyncio client of the adb server (SERVICES.TXT and shell_protocol.h of adb).

A request is four hex digits of length and the text; the answer OKAY or FAIL with a counted reason.
"""

import asyncio
import stat
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

ANSWER_BYTES = 1024 * 1024
OUTPUT_BYTES = 1024 * 1024

_STDOUT, _STDERR, _EXIT = 1, 2, 3
_SYNC = struct.Struct("<4sI")
_PUSH_BLOCK = 64 * 1024


class AdbError(Exception):
    """The adb server or the phone refused a request; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A shell command's output, error output and exit code."""

    out: str
    error: str
    code: int


@dataclass(frozen=True, kw_only=True)
class Adb:
    """A client of one adb server; callers set the time limits and may cancel every call."""

    host: str
    port: int

    async def version(self) -> int:
        """Return the server's protocol version."""
        return int(await self._counted_request("host:version"), 16)

    async def devices(self) -> dict[str, str]:
        """Return the state of every device by its serial."""
        return parse_devices(await self._counted_request("host:devices"))

    async def track(self) -> AsyncIterator[dict[str, str]]:
        """Yield the states of all devices, now and at every change, until the server closes."""
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, "host:track-devices")
            while True:
                yield parse_devices(await _counted(reader, "host:track-devices"))

    async def features(self, serial: str) -> frozenset[str]:
        """Return what the phone's adb daemon can do; `shell_v2` came with Android 7."""
        told = await self._counted_request(f"host-serial:{serial}:features")
        return frozenset(told.strip().split(","))

    async def connect(self, address: str) -> str:
        """Make the server connect to a network phone; return its answer."""
        return await self._counted_request(f"host:connect:{address}")

    async def disconnect(self, address: str) -> None:
        """Make the server disconnect from a network phone, if it is connected."""
        try:
            await self._counted_request(f"host:disconnect:{address}")
        except AdbError:
            return

    async def reconnect(self, serial: str) -> str:
        """Make the server reconnect to the phone; return its answer."""
        return (await self._counted_request(f"host-serial:{serial}:reconnect")).strip()

    async def reboot(self, serial: str) -> None:
        """Reboot the phone into Android, without waiting for it."""
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, f"host:transport:{serial}")
            await _ask(reader, writer, "reboot:")

    async def shell(self, serial: str, command: str) -> Answer:
        """Run *command* on the phone to its end (shell protocol version 2)."""
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, f"host:transport:{serial}")
            await _ask(reader, writer, f"shell,v2,raw:{command}")
            return await _shell_answer(reader, command)

    async def stream(
        self, serial: str, command: str, *, errors: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield what *command* writes on the phone, as it comes, until it ends.

        With *errors* what it writes to stderr too.
        """
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, f"host:transport:{serial}")
            await _ask(reader, writer, f"shell,v2,raw:{command}")
            while True:
                kind, data = await _packet(reader, command)
                if kind == _EXIT:
                    return
                if kind == _STDOUT or (errors and kind == _STDERR):
                    yield data

    async def push(self, serial: str, data: bytes, path: str, *, mode: int) -> None:
        """Write a file on the phone (SYNC.TXT of adb: SEND, DATA blocks, DONE)."""
        async with self.connected_to(serial, "sync:") as (reader, writer):
            target = f"{path},{stat.S_IFREG | mode}".encode()
            writer.write(_SYNC.pack(b"SEND", len(target)) + target)
            for start in range(0, len(data), _PUSH_BLOCK):
                block = data[start : start + _PUSH_BLOCK]
                writer.write(_SYNC.pack(b"DATA", len(block)) + block)
                await writer.drain()
            writer.write(_SYNC.pack(b"DONE", int(time.time())))
            status, length = _SYNC.unpack(await reader.readexactly(_SYNC.size))
            if status != b"OKAY":
                reason = (await reader.read(min(length, 1000))).decode("utf-8", "replace")
                raise AdbError(f"push {path}: {reason or status!r}")

    @asynccontextmanager
    async def connected_to(
        self, serial: str, service: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Yield a connection to a service of the phone, say `tcp:9008`."""
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, f"host:transport:{serial}")
            await _ask(reader, writer, service)
            yield reader, writer

    async def _counted_request(self, request: str) -> str:
        async with self._connected() as (reader, writer):
            await _ask(reader, writer, request)
            return await _counted(reader, request)

    @asynccontextmanager
    async def _connected(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            raise AdbError(f"the adb server does not answer: {error}") from error
        try:
            yield reader, writer
        except (OSError, asyncio.IncompleteReadError) as error:
            raise AdbError(f"the adb server closed the connection: {error}") from error
        finally:
            # Abort rather than close: a phone that hangs must not keep the connection.
            writer.transport.abort()


DUPLICATE = "duplicate"
"""The state of a serial that adb lists twice: adb can reach neither device."""


def parse_devices(text: str) -> dict[str, str]:
    """Return serial and state of each line of a listing; lines of another form are passed over.

    Cheap phones come with one serial for all of them (madb#1): their state is DUPLICATE.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial:
            found[serial] = DUPLICATE if serial in found else state
    return found


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str) -> None:
    data = request.encode()
    if len(data) > 0xFFFF:
        raise AdbError(f"{request[:60]}... is longer than adb allows for a request")
    writer.write(b"%04x" % len(data) + data)
    status = await reader.readexactly(4)
    if status == b"OKAY":
        return
    if status == b"FAIL":
        raise AdbError(f"{request[:200]}: {await _counted(reader, request)}")
    raise AdbError(f"{request[:200]}: the adb server answered {status!r}")


async def _counted(reader: asyncio.StreamReader, request: str) -> str:
    digits = await reader.readexactly(4)
    try:
        length = int(digits, 16)
    except ValueError as error:
        raise AdbError(f"{request[:200]}: the adb server answered {digits!r}") from error
    return (await reader.readexactly(length)).decode("utf-8", "replace")


async def _packet(reader: asyncio.StreamReader, command: str) -> tuple[int, bytes]:
    head = await reader.readexactly(5)
    kind, length = head[0], int.from_bytes(head[1:], "little")
    if length > ANSWER_BYTES:
        raise AdbError(
            f"{command[:200]}: the phone sent a packet of {length} bytes, which is not allowed"
        )
    return kind, await reader.readexactly(length)


async def _shell_answer(reader: asyncio.StreamReader, command: str) -> Answer:
    written = {_STDOUT: bytearray(), _STDERR: bytearray()}
    while True:
        kind, data = await _packet(reader, command)
        if kind == _EXIT:
            return Answer(
                out=written[_STDOUT].decode("utf-8", "replace"),
                error=written[_STDERR].decode("utf-8", "replace"),
                code=data[0] if data else 255,
            )
        if kind in written:
            written[kind] += data
            if len(written[kind]) > OUTPUT_BYTES:
                raise AdbError(f"{command[:200]}: the command wrote more than {OUTPUT_BYTES} bytes")
