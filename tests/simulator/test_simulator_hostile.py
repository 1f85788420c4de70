"""Whatever arrives on a phone's socket, the phone and its neighbours go on."""

import asyncio
import io
import itertools
import struct
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example
from hypothesis import strategies as st
from phonefarm_simulator.adb_packets import (
    HEADER,
    MAX_PAYLOAD,
    AdbPacketError,
    Command,
    Packet,
    PacketParser,
)
from phonefarm_simulator.adb_stream import BufferedReader, Stream, StreamClosedError
from phonefarm_simulator.apk_manifest import read_manifest
from phonefarm_simulator.farm import Farm, SimulatedPhone, simulated_phones
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screen_server_messages import UnknownMessageError, read_message
from phonefarm_simulator.shell import COMMANDS, Bytes, Exit, Shell
from phonefarm_simulator.shell_parser import ShellSyntaxError, parse
from support.examples import at_most, given

NUMBERS = st.integers(min_value=0, max_value=0xFFFFFFFF)
PACKETS = st.builds(
    Packet,
    command=st.one_of(st.sampled_from([int(command) for command in Command]), NUMBERS),
    arg0=st.one_of(st.integers(0, 5), NUMBERS),
    arg1=st.one_of(st.integers(0, 5), NUMBERS),
    payload=st.one_of(
        st.binary(max_size=200),
        st.sampled_from([b"sync:\0", b"shell,v2,raw:cat\0", b"shell:\0", b"exec:cat\0"]),
        st.builds(
            lambda word, size, rest: word + struct.pack("<I", size) + rest,
            st.sampled_from([b"STAT", b"LIS2", b"SEND", b"RECV", b"DATA", b"DONE", b"QUIT"]),
            st.one_of(st.integers(0, 64), NUMBERS),
            st.binary(max_size=64),
        ),
    ),
)
HELLO = Packet(command=Command.CNXN, arg0=0x01000001, arg1=MAX_PAYLOAD, payload=b"host::\0")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return `data` in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@given(packets=st.lists(PACKETS, max_size=8), places=st.lists(st.integers(0, 5000), max_size=12))
def test_parser_returns_what_was_encoded_however_it_was_split(
    packets: list[Packet], places: list[int]
) -> None:
    """Encoding and parsing are inverse for any packets and any cuts."""
    parser = PacketParser()
    data = b"".join(packet.encode() for packet in packets)

    parsed = [packet for piece in cut(data, places) for packet in parser.feed(piece)]

    assert parsed == packets


@given(data=st.binary(max_size=600))
def test_parser_takes_any_bytes_or_refuses_them(data: bytes) -> None:
    """Arbitrary bytes give packets with a true header or an AdbPacketError, nothing else."""
    parser = PacketParser()
    try:
        packets = list(parser.feed(data))
    except AdbPacketError:
        return
    assert all(len(packet.payload) <= MAX_PAYLOAD for packet in packets)


def test_parser_refuses_a_length_over_the_limit_before_the_bytes_come() -> None:
    """A header that announces too much ends the connection at once."""
    command = int(Command.WRTE)
    header = HEADER.pack(command, 1, 1, MAX_PAYLOAD + 1, 0, command ^ 0xFFFFFFFF)

    with pytest.raises(AdbPacketError, match="over the limit"):
        list(PacketParser().feed(header))


@given(line=st.text(max_size=200))
def test_shell_lines_parse_or_are_syntax_errors(line: str) -> None:
    """No command line breaks the shell's parser."""
    try:
        pipelines = parse(line)
    except ShellSyntaxError:
        return
    assert all(pipeline.commands for pipeline in pipelines)


@given(words=st.lists(st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20)))
def test_a_single_quoted_word_comes_out_as_it_went_in(words: list[str]) -> None:
    """Quoting as shlex does is undone exactly, so a caller's text stays one argument."""
    quoted = ["'" + word.replace("'", "'\"'\"'") + "'" for word in words]

    pipelines = parse(" ".join(["echo", *quoted]))

    (command,) = pipelines[0].commands
    found = ["".join(piece.text for piece in word) for word in command.words]
    assert found == ["echo", *words]


class Peer:
    """A host that speaks the protocol by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *packets: Packet) -> None:
        """Send packets as they are."""
        self.writer.write(b"".join(packet.encode() for packet in packets))
        await self.writer.drain()

    async def receive(self) -> Packet:
        """Return the next packet; IncompleteReadError when the phone closed."""
        async with asyncio.timeout(180):
            header = await self.reader.readexactly(HEADER.size)
            command, arg0, arg1, length, _sum, _magic = HEADER.unpack(header)
            payload = await self.reader.readexactly(length)
        return Packet(command=command, arg0=arg0, arg1=arg1, payload=payload)


@asynccontextmanager
async def peer_of(phone: SimulatedPhone) -> AsyncIterator[Peer]:
    """Connect to a phone without adb."""
    host, _colon, port = phone.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def assert_serves(phone: SimulatedPhone) -> None:
    """Assert that a new connection gets a whole command done."""
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        assert (await peer.receive()).command == Command.CNXN
        await peer.send(Packet(command=Command.OPEN, arg0=9, payload=b"exec:echo alive\0"))
        okay, said = await peer.receive(), await peer.receive()
        assert okay.command == Command.OKAY
        assert (said.command, said.payload) == (Command.WRTE, b"alive\n")
        await peer.send(Packet(command=Command.OKAY, arg0=9, arg1=okay.arg0))
        assert (await peer.receive()).command == Command.CLSE


@at_most(150, suppress_health_check=list(HealthCheck))
@given(
    greet=st.booleans(),
    packets=st.lists(PACKETS, max_size=12),
    junk=st.binary(max_size=300),
)
def test_a_live_phone_survives_any_conversation(
    tmp_path: Path, greet: bool, packets: list[Packet], junk: bytes
) -> None:
    """After any packets and any junk, cut off at any moment, the next host is served."""

    async def scene() -> None:
        async with simulated_phones(1, tmp_path / "sim") as farm:
            (phone,) = farm
            async with peer_of(phone) as peer:
                hello = [HELLO] if greet else []
                data = b"".join(packet.encode() for packet in [*hello, *packets]) + junk
                peer.writer.write(data)
                if peer.writer.can_write_eof():
                    peer.writer.write_eof()
                await phone.wait_for(Kind.CONNECTION_OPENED)
                await phone.wait_for(Kind.CONNECTION_CLOSED)
            await assert_serves(phone)
            outcomes = [
                entry.detail["outcome"]
                for entry in phone.ledger()
                if entry.kind is Kind.SERVICE_CLOSED
            ]
            assert not [outcome for outcome in outcomes if outcome.startswith("failed")]

    asyncio.run(scene())


async def test_a_peer_that_sends_out_of_turn_is_cut(phone: SimulatedPhone) -> None:
    """One who writes on without waiting for OKAY cannot make the phone keep it all."""
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(Packet(command=Command.OPEN, arg0=1, payload=b"exec:sleep 60\0"))
        okay = await peer.receive()
        flood = Packet(command=Command.WRTE, arg0=1, arg1=okay.arg0, payload=bytes(100_000))

        await peer.send(flood, flood, flood, flood)

        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.receive()
    await assert_serves(phone)


async def test_a_peer_that_never_says_okay_holds_up_only_itself(phone: SimulatedPhone) -> None:
    """Output waits for the peer's OKAY: one packet goes out, not the whole file."""
    phone.phone.files.write("/sdcard/big", bytes(10_000_000))
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(Packet(command=Command.OPEN, arg0=1, payload=b"exec:cat /sdcard/big\0"))
        assert (await peer.receive()).command == Command.OKAY
        assert len((await peer.receive()).payload) == 64 * 1024

        await assert_serves(phone)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.readexactly(1), 0.2)


async def test_two_streams_take_turns(phone: SimulatedPhone) -> None:
    """A stream that waits does not hold up another one of the same connection."""
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(
            Packet(command=Command.OPEN, arg0=1, payload=b"exec:sleep 30\0"),
            Packet(command=Command.OPEN, arg0=2, payload=b"exec:echo second\0"),
        )

        packets = [await peer.receive() for _ in range(3)]

        assert packets[-1].payload == b"second\n"
        assert packets[-1].arg1 == 2


async def test_hostile_sync_requests_end_their_stream_only(phone: SimulatedPhone) -> None:
    """A path too long, an unknown request and a chunk too large are answered with FAIL."""
    requests = [
        b"STAT" + struct.pack("<I", 100_000) + b"x" * 50,
        b"EVIL" + struct.pack("<I", 1) + b"x",
        b"SEND" + struct.pack("<I", 15) + b"/sdcard/f,33188" + b"DATA\xff\xff\xff\x7f",
        b"SEND" + struct.pack("<I", 9) + b"/sdcard/f",
    ]
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        await peer.receive()
        for number, request in enumerate(requests, start=1):
            await peer.send(Packet(command=Command.OPEN, arg0=number, payload=b"sync:\0"))
            okay = await peer.receive()
            await peer.send(
                Packet(command=Command.WRTE, arg0=number, arg1=okay.arg0, payload=request)
            )
            answers = [await peer.receive()]
            while answers[-1].command != Command.WRTE:
                answers.append(await peer.receive())
            assert answers[-1].payload[:4] == b"FAIL", request[:4]
            await peer.send(Packet(command=Command.OKAY, arg0=number, arg1=okay.arg0))
            while (await peer.receive()).command != Command.CLSE:
                pass
    await assert_serves(phone)


async def test_a_push_cut_off_halfway_leaves_nothing(phone: SimulatedPhone) -> None:
    """A file appears whole or not at all."""
    name = b"/sdcard/half,33188"
    part = b"SEND" + struct.pack("<I", len(name)) + name + b"DATA" + struct.pack("<I", 4) + b"half"
    async with peer_of(phone) as peer:
        await peer.send(HELLO)
        await peer.receive()
        await peer.send(Packet(command=Command.OPEN, arg0=1, payload=b"sync:\0"))
        okay = await peer.receive()
        await peer.send(Packet(command=Command.WRTE, arg0=1, arg1=okay.arg0, payload=part))
        await peer.receive()

    await phone.wait_for(Kind.CONNECTION_CLOSED)
    assert not phone.phone.files.exists("/sdcard/half")


async def test_too_many_connections_are_turned_away(farm: Farm, phone: SimulatedPhone) -> None:
    """A flood of connections leaves the neighbour untouched and the phone usable after it."""
    host, _colon, port = phone.address.partition(":")
    writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(80)]

    await assert_serves(farm["SIM0002"])
    assert phone.state()["connections"] <= 64

    last = phone.phone.ledger.sequence
    for writer in writers:
        writer.transport.abort()
    for _connection in range(64):
        last = (await phone.wait_for(Kind.CONNECTION_CLOSED, since=last)).sequence
    await assert_serves(phone)


WORDS = st.one_of(
    st.sampled_from(sorted(COMMANDS)),
    st.sampled_from(["-d", "-r", "-rf", "-p", "-n", "-c", "-S", "-a", "-l", "-t", "-e", "--", "!"]),
    st.sampled_from(["/sdcard", "/sdcard/f", "/", "/data/local/tmp/*", "../..", "/proc/uptime"]),
    st.sampled_from(["dump", "tap", "swipe", "text", "keyevent", "start", "list", "packages"]),
    st.sampled_from(["get", "put", "install", "battery", "package", "com.example.shortvideo"]),
    st.sampled_from(["0", "7", "-3", "1e309", "nan", "99999999999999999999", "²", "%s%d", "+%s"]),
    st.sampled_from(["|", ";", "&&", "||", ">", ">>", "<", "2>&1", "'", '"', "$?", "\n", "&"]),
    st.text(max_size=6),
)


@at_most(400, suppress_health_check=list(HealthCheck))
@given(words=st.lists(WORDS, max_size=9))
@example(words=["screenrecord", ":"])
def test_no_command_line_breaks_the_phone(tmp_path: Path, words: list[str]) -> None:
    """Any words in any order give a status from 0 to 255, wait, or leave the shell."""

    async def discard(data: bytes) -> None:
        """Take the bytes and forget them."""

    async def scene() -> None:
        phone = Phone(serial="SIM0001", directory=tmp_path)
        shell = Shell(phone=phone, stdin=Bytes(), out=discard, error=discard)
        try:
            async with asyncio.timeout(0.05):
                status = await shell.run(" ".join(words))
            assert 0 <= status <= 255
        except (TimeoutError, Exit):
            pass
        finally:
            phone.close()

    asyncio.run(scene())


class Given(Stream):
    """A stream that holds all it will ever give."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    async def read(self) -> bytes:
        """Return all, then the end."""
        data, self._left = self._left, b""
        return data


@given(st.lists(st.one_of(st.integers(0, 18).map(lambda kind: bytes([kind])), st.binary())))
def test_no_message_breaks_the_screen_server(parts: list[bytes]) -> None:
    """Whatever a client sends is a message, the end, or an error that the server knows."""

    async def read_all() -> None:
        reader = BufferedReader(Given(b"".join(parts)))
        while True:
            await read_message(reader)

    with pytest.raises((UnknownMessageError, StreamClosedError)):
        asyncio.run(read_all())


@given(st.binary(), st.booleans())
def test_no_manifest_breaks_an_installation(content: bytes, compiled: bool) -> None:
    """Whatever an APK says of itself, it is installed or refused."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("AndroidManifest.xml", b"\x03\0\x08\0" * compiled + content)

    assert read_manifest(data.getvalue()) is None
    assert read_manifest(content) is None
