"""What the per-run adb proxy lets through."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from phonefarm_agent.phones.proxy.proxy import CONNECTIONS
from phonefarm_agent.phones.proxy.stream import REQUEST_LIMIT
from support.proxy_bench import FOLDER, SERIAL, proxy_bench

TRANSPORT = f"host:transport:{SERIAL}"


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        ("host:version", b"OKAY00040029"),
        ("host:devices", b"OKAY0017127.0.0.1:40001\tdevice\n"),
        ("host:features", b"OKAY000cshell_v2,cmd"),
        ("host:host-features", b"OKAY0008shell_v2"),
        (f"host-serial:{SERIAL}:features", b"OKAY000cshell_v2,cmd"),
        (f"host-serial:{SERIAL}:get-state", b"OKAY0006device"),
    ],
)
async def test_host_requests_answer_for_the_one_phone(
    tmp_path: Path, request_text: str, answer: bytes
) -> None:
    """Version, features, state and the list of devices speak of this run's phone alone."""
    async with proxy_bench(tmp_path, going=False) as bench:
        got = await bench.ask(request_text)

    assert got == answer


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "host:kill",
        "host:connect:10.0.0.1:5555",
        "host:disconnect:",
        "host:track-devices",
        "host:transport-any",
        "host:tport:any",
        "host:transport:OTHER",
        "host:tport:serial:OTHER",
        "host:transport-id:1",
        "host-transport-id:1:features",
        "host-serial:OTHER:features",
        "host-serial:OTHER:get-state",
        f"host-serial:{SERIAL}:forward:tcp:1;tcp:2",
        f"host-serial:{SERIAL}:list-forward",
        f"host-serial:{SERIAL}:reconnect",
        f"host-serial:{SERIAL}:kill",
        f"host:transport:{SERIAL}0",
        "host:list-forward",
        "host:killforward-all",
        "host:server-status",
        "host:forward:tcp:1;tcp:2",
        "host:forward:norebind:tcp:1;tcp:2",
        "host:killforward:tcp:1",
        "host:transport-usb",
        "host:transport-local",
        "host:tport:usb",
        "host:tport:local",
        "host-usb:get-state",
        "host-local:get-state",
        "host-serial::get-state",
        "host:wait-for-any-device",
        f"host-serial:{SERIAL}:wait-for-any-device",
        f"host-serial:{SERIAL}:killforward-all",
        f"host-serial:{SERIAL}:attach",
        f"host-serial:{SERIAL}:detach",
        "host:reconnect",
        "host:reconnect-offline",
        "host:emulator:5554",
        "host:pair:123456:10.0.0.1:37123",
        "host:track-devices-l",
        "host:VERSION",
        "host:version ",
        "host:version\x00host:kill",
        "host:mdns:services",
        "shell:id",
        "sync:",
    ],
)
async def test_any_other_host_request_is_refused(tmp_path: Path, request_text: str) -> None:
    """No other phone, no forward, no kill, no connect: FAIL, and the adb server hears nothing."""
    async with proxy_bench(tmp_path) as bench:
        got = await bench.ask(request_text)

        assert got.startswith(b"FAIL")
        assert b"not allowed" in got
        assert bench.server.requests == []


@pytest.mark.parametrize(
    "service",
    [
        "shell:",
        "shell,v2:",
        "shell,v2,raw:",
        "shell,v2,pty:getprop",
        "shell,v2,TERM=xterm:getprop",
        "shell",
        "shell,v1:getprop",
        "exec:",
        "exec,v2:getprop",
        "tcp:8080",
        "localabstract:chrome_devtools_remote",
        "local:/dev/socket/x",
        "reverse:forward:tcp:1;tcp:2",
        "forward:tcp:1",
        "jdwp:1",
        "track-jdwp",
        "root:",
        "unroot:",
        "remount:",
        "reboot:",
        "reboot:bootloader",
        "reboot:recovery",
        "reboot:sideload",
        "tcpip:5555",
        "usb:",
        "reconnect",
        "connect:10.0.0.1:5555",
        f"host:transport:{SERIAL}",
        "reverse:list-forward",
        "reverse:killforward-all",
        "jdwp",
        "track-app",
        "localreserved:x",
        "localfilesystem:/data/x",
        "vsock:1:2",
        "udp:53",
        "sink:1",
        "source:1",
        "log:main",
        "enable-verity:",
        "sideload-host:1:1",
        "rescue-install:1",
        "recover:1",
        "spin",
        "framebuffer:",
        "backup:all",
        "restore:",
        "abb:package\x00list",
        "abb_exec:package\x00install",
        "sideload:1",
        "disable-verity:",
        "host:kill",
        "dev:/dev/block/sda",
        "sync:x",
    ],
)
async def test_any_other_service_is_refused(tmp_path: Path, service: str) -> None:
    """A service that is not in the list does not reach the phone."""
    async with proxy_bench(tmp_path) as bench:
        got = await bench.ask(TRANSPORT, service)

        assert got.startswith(b"OKAYFAIL")
        assert bench.server.services == []


@pytest.mark.parametrize("service", ["shell", "shell,v2", "shell,v2,raw", "exec"])
async def test_a_command_reaches_the_phone_quoted_anew(tmp_path: Path, service: str) -> None:
    """The phone gets the words that were judged, and the client its answer."""
    async with proxy_bench(tmp_path) as bench:
        got = await bench.shell('input  text "a; b"', service)

        assert got == b"OKAYOKAYdone"
        prefix = "shell,v2,raw" if "v2" in service else service
        assert bench.server.services == [f"{prefix}:input text 'a; b'"]


async def test_the_newer_transport_request_passes_its_answer(tmp_path: Path) -> None:
    """`host:tport` answers with the transport's number of eight bytes before the service."""
    async with proxy_bench(tmp_path) as bench:
        got = await bench.ask(f"host:tport:serial:{SERIAL}", "shell:getprop")

    assert got == b"OKAY" + b"\x07\0\0\0\0\0\0\0" + b"OKAYdone"


async def test_only_reads_pass_before_go(tmp_path: Path) -> None:
    """Before the start gate opens no act reaches the phone; afterwards the same one does."""
    async with proxy_bench(tmp_path, going=False) as bench:
        read = await bench.shell("getprop ro.serialno")
        act = await bench.shell("input tap 1 2")
        push = await bench.ask(TRANSPORT, "sync:")
        bench.gate.going = True
        later = await bench.shell("input tap 1 2")

        assert read.endswith(b"done")
        assert b"only reads are allowed before the start gate opens" in act
        assert b"only reads are allowed before the start gate opens" in push
        assert later.endswith(b"done")
        assert bench.server.services == [
            "shell,v2,raw:getprop ro.serialno",
            "shell,v2,raw:input tap 1 2",
        ]


async def test_what_the_client_says_after_a_command_goes_nowhere(tmp_path: Path) -> None:
    """A command has no input: bytes behind it are read and dropped."""
    async with proxy_bench(tmp_path) as bench:
        bench.server.hold = True
        reader, writer = await bench.open("shell:getprop")
        assert await reader.readexactly(4) == b"done"

        writer.write(b"reboot\n" * 1000)
        writer.write_eof()
        assert await reader.read(-1) == b""
        writer.close()

        assert bytes(bench.server.data) == b""


async def test_sync_passes_files_of_the_runs_folder(tmp_path: Path) -> None:
    """A stat, a whole upload and a download of the folder's files pass byte by byte."""
    path = f"{FOLDER}/clip.mp4".encode()
    spec = path + b",33188"
    upload = b"".join(
        [
            *(struct.pack("<4sI", name, len(path)) + path for name in (b"STAT", b"LST2", b"LIST")),
            struct.pack("<4sI", b"SEND", len(spec)) + spec,
            *(struct.pack("<4sI", b"DATA", 50_000) + bytes(50_000) for _ in range(4)),
            struct.pack("<4sI", b"DONE", 1_700_000_000),
            struct.pack("<4sI", b"SND2", len(path))
            + path
            + struct.pack("<4sII", b"SND2", 33188, 0),
            struct.pack("<4sI", b"DONE", 1_700_000_000),
            struct.pack("<4sI", b"RECV", len(path)) + path,
            struct.pack("<4sI", b"RCV2", len(path)) + path + struct.pack("<4sI", b"RCV2", 0),
        ]
    )
    async with proxy_bench(tmp_path) as bench:
        _, writer = await bench.open("sync:")

        writer.write(upload)
        await bench.server.until(len(upload))
        writer.close()

        assert bytes(bench.server.data) == upload


def _path_request(name: bytes, path: str) -> bytes:
    data = path.encode()
    return struct.pack("<4sI", name, len(data)) + data


@pytest.mark.parametrize(
    "frame",
    [
        _path_request(b"RECV", "/data/local/tmp/phonefarm-lease"),
        _path_request(b"RECV", f"{FOLDER}/../run-2/x"),
        _path_request(b"STAT", "/"),
        _path_request(b"LST2", "relative"),
        _path_request(b"LIST", "/data"),
        _path_request(b"SEND", "/data/local/tmp/phonefarm-lease,33188"),
        _path_request(b"SEND", f"{FOLDER}/link,41471"),
        _path_request(b"SEND", f"{FOLDER}/x"),
        _path_request(b"SEND", f"{FOLDER}/x,0x81a4"),
        _path_request(b"SND2", f"{FOLDER}/x") + struct.pack("<4sII", b"SND2", 0o120777, 0),
        _path_request(b"SND2", f"{FOLDER}/x") + struct.pack("<4sII", b"XXXX", 33188, 0),
        _path_request(b"RCV2", "/etc/hosts") + struct.pack("<4sI", b"RCV2", 0),
        _path_request(b"ULNK", f"{FOLDER}/x"),
        struct.pack("<4sI", b"STAT", 1025) + b"/" * 1025,
        struct.pack("<4sI", b"STAT", 4) + b"/\xff\xff\xff",
        struct.pack("<4sI", b"DATA", 4) + b"abcd",
        _path_request(b"SEND", f"{FOLDER}/x,33188") + struct.pack("<4sI", b"DATA", 65537),
        _path_request(b"SEND", f"{FOLDER}/x,33188") + _path_request(b"RECV", f"{FOLDER}/x"),
    ],
)
async def test_sync_refuses_what_leaves_the_folder(tmp_path: Path, frame: bytes) -> None:
    """Other paths, links and requests end the sync connection with its own kind of FAIL."""
    async with proxy_bench(tmp_path) as bench:
        bench.server.answer = b""
        reader, writer = await bench.open("sync:")

        writer.write(frame)
        answer = await reader.read(-1)
        writer.close()

        assert answer[:4] == b"FAIL"
        assert len(answer) == 8 + struct.unpack("<I", answer[4:8])[0]
        assert bytes(bench.server.data) in {b"", _path_request(b"SEND", f"{FOLDER}/x,33188")}


async def test_connections_are_limited(tmp_path: Path) -> None:
    """The seventeenth connection is told so; once another has left there is room again."""
    async with proxy_bench(tmp_path) as bench:
        peers = [await bench.dial() for _ in range(CONNECTIONS)]
        for _, writer in peers:
            writer.write(b"00")
        refused, last = await bench.dial()
        answer = await asyncio.wait_for(refused.read(-1), 60)
        last.close()
        reader, writer = peers[0]
        writer.write(b"0cx")
        writer.write_eof()
        await asyncio.wait_for(reader.read(-1), 60)
        again = await bench.ask("host:version")
        for _, writer in peers:
            writer.close()

    assert b"more than 16 connections" in answer
    assert again.startswith(b"OKAY")


async def test_a_request_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """The length is looked at before the request is read."""
    async with proxy_bench(tmp_path) as bench:
        reader, writer = await bench.dial()
        writer.write(f"{REQUEST_LIMIT + 1:04x}".encode())
        answer = await asyncio.wait_for(reader.read(-1), 60)
        writer.close()

    assert b"longer than" in answer


async def test_an_adb_server_that_is_away_is_said(tmp_path: Path) -> None:
    """Without an adb server the client gets a FAIL that says so; what needs none still answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with proxy_bench(tmp_path, port=port) as bench:
        listing = await bench.ask("host:devices")
        command = await bench.shell("getprop")
        version = await bench.ask("host:version")

    assert b"the adb server does not answer" in listing
    assert b"the adb server does not answer" in command
    assert version.startswith(b"OKAY")


async def test_the_socket_is_gone_afterwards(tmp_path: Path) -> None:
    """Leaving the block ends open connections and removes the socket."""
    async with proxy_bench(tmp_path) as bench:
        bench.server.hold = True
        reader, writer = await bench.open("shell:getprop")

    await asyncio.wait_for(reader.read(-1), 60)
    writer.close()
    assert not bench.path.exists()
