"""One host's adb connection to a phone, from its CNXN to its end."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import structlog

from phonefarm_simulator.adb_packets import (
    MAX_PAYLOAD,
    VERSION,
    AdbPacketError,
    AuthKind,
    Command,
    Packet,
    PacketParser,
)
from phonefarm_simulator.adb_stream import Stream, StreamClosedError
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ledger import Kind, Origin, origin
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.reverse_forwards import ReverseForwards
from phonefarm_simulator.services import FEATURES, is_refused, read_service, serve_until_closed

READ_BYTES = 256 * 1024
MAX_STREAMS = 256
SMALLEST_PAYLOAD = 4096

log = structlog.get_logger()


class Connection:
    """Reads packets in one task and serves each stream in a task of its own."""

    def __init__(
        self,
        *,
        phone: Phone,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self._phone = phone
        self._reader = reader
        self._writer = writer
        self._parser = PacketParser()
        self._streams: dict[int, Stream] = {}
        self._next_stream = 1
        self._online = False
        self._cut_reason = ""
        self._largest_payload = MAX_PAYLOAD
        self._reverse = ReverseForwards(phone, number, self._dial)

    def cut(self, reason: str) -> None:
        """Drop the connection at once and record the reason in the ledger."""
        self._cut_reason = self._cut_reason or reason
        self._writer.transport.abort()

    async def run(self) -> None:
        """Serve until either side ends it; nothing that the peer sends makes this raise."""
        origin.set(Origin(connection=self.number))
        record = self._phone.ledger.record
        record(Kind.CONNECTION_OPENED)
        reason = "closed by the host"
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._read(group)
                except (AdbPacketError, ConnectionError) as error:
                    reason = str(error) or type(error).__name__
                finally:
                    for stream in self._streams.values():
                        stream.break_off()
        finally:
            self._reverse.end()
            self.cut(reason)
            record(Kind.CONNECTION_CLOSED, reason=self._cut_reason)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        while data := await self._reader.read(READ_BYTES):
            if Fault.OFFLINE in self._phone.faults:
                continue
            for packet in self._parser.feed(data):
                await self._take(packet, group)

    async def _take(self, packet: Packet, group: asyncio.TaskGroup) -> None:
        match packet.command:
            case Command.CNXN:
                await self._handshake(packet)
            case Command.AUTH:
                await self._answer_auth(packet)
            case _ if not self._online:
                pass
            case Command.OPEN:
                await self._open(packet, group)
            case Command.OKAY:
                stream = self._streams.get(packet.arg1)
                if stream is not None and stream.peer in {0, packet.arg0}:
                    stream.peer = packet.arg0
                    stream.take_okay()
            case Command.WRTE:
                await self._write(packet)
            case Command.CLSE:
                stream = self._stream_of(packet)
                if stream is not None:
                    stream.break_off()
                    self._streams.pop(stream.number, None)
            case _:
                pass

    async def _handshake(self, packet: Packet) -> None:
        for stream in self._streams.values():
            stream.break_off()
        self._online = False
        if Fault.UNAUTHORIZED in self._phone.faults:
            await self._ask_for_key()
            return
        self._largest_payload = max(SMALLEST_PAYLOAD, min(packet.arg1, MAX_PAYLOAD))
        self._online = True
        properties = self._phone.properties
        shown = ("ro.product.name", "ro.product.model", "ro.product.device")
        words = [f"{name}={properties[name]}" for name in shown]
        fault = self._phone.faults.get(Fault.RECOVERY)
        state = "device" if fault is None else fault.mode
        if Fault.NO_SHELL_V2 not in self._phone.faults:
            words.append(f"features={','.join(FEATURES)}")
        banner = f"{state}::" + ";".join(words)
        await self._send(
            Packet(command=Command.CNXN, arg0=VERSION, arg1=MAX_PAYLOAD, payload=banner.encode())
        )

    async def _answer_auth(self, packet: Packet) -> None:
        """Refuse every signature and leave every public key waiting for a person's tap on Allow."""
        if Fault.UNAUTHORIZED in self._phone.faults and packet.arg0 == AuthKind.SIGNATURE:
            await self._ask_for_key()

    async def _ask_for_key(self) -> None:
        await self._send(Packet(command=Command.AUTH, arg0=AuthKind.TOKEN, payload=os.urandom(20)))

    async def _open(self, packet: Packet, group: asyncio.TaskGroup) -> None:
        name = packet.payload.rstrip(b"\0").decode(errors="replace")
        service = read_service(name)
        if packet.arg0 == 0:
            return
        full = len(self._streams) >= MAX_STREAMS
        if service is None or full or is_refused(self._phone, service):
            await self._send(Packet(command=Command.CLSE, arg0=0, arg1=packet.arg0))
            return
        stream = self._new_stream(peer=packet.arg0)

        async def work() -> bool:
            await stream.accept()
            if service.kind == "reverse":
                await self._reverse.serve(service.command, stream)
                return False
            return await serve_until_closed(self._phone, service, stream)

        group.create_task(self._serve(stream, name, work))

    def _new_stream(self, *, peer: int) -> Stream:
        stream = Stream(
            number=self._next_stream,
            peer=peer,
            send=self._send,
            delay_seconds=self._delay_seconds,
            largest_payload=self._largest_payload,
        )
        self._next_stream += 1
        self._streams[stream.number] = stream
        return stream

    async def _dial(self, address: str) -> Stream:
        """Return a stream to an address of the host; StreamClosedError when it opens none."""
        stream = self._new_stream(peer=0)
        opening = Packet(
            command=Command.OPEN, arg0=stream.number, arg1=0, payload=address.encode() + b"\0"
        )
        await self._send(opening)
        try:
            await stream.opened()
        except StreamClosedError:
            self._streams.pop(stream.number, None)
            raise
        return stream

    async def _serve(self, stream: Stream, name: str, work: Callable[[], Awaitable[bool]]) -> None:
        origin.set(Origin(connection=self.number, stream=stream.number))
        record = self._phone.ledger.record
        record(Kind.SERVICE_OPENED, service=name[:500])
        outcome = "done"
        try:
            if await work():
                outcome = "cut by a fault"
                self.cut(outcome)
            await stream.finish()
        except StreamClosedError:
            outcome = "broken off"
        except ConnectionError:
            outcome = "connection lost"
        except Exception as error:  # a fault of the simulator ends this stream, never the phone
            outcome = f"failed: {error!r}"
            log.exception("service.failed", serial=self._phone.serial, service=name[:200])
            await self._close_failed(stream)
        finally:
            self._streams.pop(stream.number, None)
            record(Kind.SERVICE_CLOSED, outcome=outcome)

    async def _close_failed(self, stream: Stream) -> None:
        stream.break_off()
        packet = Packet(command=Command.CLSE, arg0=stream.number, arg1=stream.peer)
        try:
            await self._send(packet)
        except ConnectionError:
            self.cut("connection lost")

    async def _write(self, packet: Packet) -> None:
        stream = self._stream_of(packet)
        if stream is None:
            await self._send(Packet(command=Command.CLSE, arg0=0, arg1=packet.arg0))
        elif packet.payload and not stream.take(packet.payload):
            raise AdbPacketError("the peer continues to send without waiting for OKAY")

    def _stream_of(self, packet: Packet) -> Stream | None:
        stream = self._streams.get(packet.arg1)
        return stream if stream is not None and stream.peer == packet.arg0 else None

    def _delay_seconds(self) -> float:
        slow = self._phone.faults.get(Fault.SLOW)
        return slow.milliseconds / 1000 if slow is not None else 0.0

    async def _send(self, packet: Packet) -> None:
        if Fault.OFFLINE in self._phone.faults:
            return
        self._writer.write(packet.encode())
        await self._writer.drain()
