"""When a lease ends, nothing passes the proxy any more, whatever was under way."""

import asyncio
import os
import signal
import socket
import struct
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from phonefarm_agent.phones.proxy.gate import Gate, GateClosedError
from structlog.testing import capture_logs
from support.proxy_bench import FOLDER, SERIAL, ended_at_once, proxy_bench, recording_server

BLOCK = 32 * 1024
SPEC = f"{FOLDER}/clip.mp4,33188".encode()
SEND = struct.pack("<4sI", b"SEND", len(SPEC)) + SPEC
DATA = struct.pack("<4sI", b"DATA", BLOCK) + bytes(BLOCK)


class HandClock:
    """A clock that moves only by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        """Return a fixed wall time."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return the hand's seconds."""
        return self.seconds


def test_a_lease_says_why_it_ended() -> None:
    """Past the deadline renewal opens it again; a cut is for ever and keeps its first reason."""
    clock = HandClock()
    gate = Gate(deadline=1010, clock=clock)

    gate.check()
    clock.seconds = 1010
    with pytest.raises(GateClosedError, match="has expired"):
        gate.check()
    gate.renew(1020)
    gate.check()
    gate.renew(1005)
    assert gate.deadline == 1020
    gate.close("fenced")
    gate.close("again")
    gate.renew(2000)
    with pytest.raises(GateClosedError, match="fenced"):
        gate.check()


async def test_a_cut_closes_open_connections_at_once(tmp_path: Path) -> None:
    """Both ends of an idle connection see its end with the next words of the network."""
    async with proxy_bench(tmp_path) as bench:
        bench.server.hold = True
        reader, writer = await bench.open("shell:getprop")
        await reader.readexactly(4)

        bench.gate.close("fenced")  # every connection is closed before it returns
        at_once = await ended_at_once(reader)
        rest = await reader.read(-1)
        writer.close()
        later = await bench.ask("host:version")

    assert rest == b""
    assert at_once
    assert later == b""


async def test_an_idle_connection_ends_with_the_deadline(tmp_path: Path) -> None:
    """An open shell on which nothing moves is closed within 100 ms, by the proxy's own clock.

    The best of three: a machine that is busy elsewhere says nothing of the proxy.
    """
    with capture_logs() as logged:
        for _ in range(3):
            async with proxy_bench(tmp_path, seconds=0.3) as bench:
                bench.server.hold = True
                reader, writer = await bench.open("shell:getprop")
                await reader.readexactly(4)

                assert await asyncio.wait_for(reader.read(-1), 10) == b""
                assert bench.gate.remaining <= 0
                writer.close()

    cuts = [line for line in logged if line["event"] == "proxy.connections_closed"]
    assert len(cuts) == 3
    assert min(cut["late_seconds"] for cut in cuts) < 0.1, cuts


async def test_a_renewed_lease_takes_new_connections(tmp_path: Path) -> None:
    """A lease that ran out passes nothing, and serves again once it is renewed."""
    clock = HandClock()
    async with proxy_bench(tmp_path, seconds=10, clock=clock) as bench:
        clock.seconds += 10
        closed = await bench.shell("input tap 1 2")
        bench.gate.renew(clock.seconds + 10)
        served = await bench.shell("input tap 1 2")

        assert closed == b""
        assert served.endswith(b"done")
        assert bench.server.services == ["shell,v2,raw:input tap 1 2"]


async def test_each_block_is_weighed(tmp_path: Path) -> None:
    """In the middle of an upload the first block after the deadline is not passed on."""
    clock = HandClock()
    async with proxy_bench(tmp_path, seconds=10, clock=clock) as bench:
        reader, writer = await bench.open("sync:")
        writer.write(SEND + DATA * 4)
        passed = len(SEND) + 4 * len(DATA)
        await bench.server.until(passed)

        clock.seconds += 10
        writer.write(DATA * 4)
        with_end = await _rest(reader)
        writer.close()

        assert with_end in {b"", b"done"}
        assert len(bench.server.data) == passed


async def test_the_way_back_is_weighed_too(tmp_path: Path) -> None:
    """What the phone says after the deadline does not reach the run."""
    clock = HandClock()
    lease_seconds = 10
    async with proxy_bench(tmp_path, seconds=lease_seconds, clock=clock) as bench:
        bench.server.answer = bytes(8 * 1024 * 1024)  # more than all socket buffers hold
        reader, writer = await bench.open("shell:getprop")
        first = await reader.readexactly(65536)

        clock.seconds += lease_seconds
        rest = await _rest(reader)
        writer.close()

        assert len(first) + len(rest) < len(bench.server.answer)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    got = bytearray()
    try:
        async with asyncio.timeout(180):
            while part := await reader.read(65536):
                got += part
    except ConnectionError:
        pass
    return bytes(got)


FROZEN_PROXY = """
import asyncio, sys
from pathlib import Path
from phonefarm_agent.phones.proxy import proxy
from phonefarm_agent.phones.proxy.proxy import Gate, run_proxy
from phonefarm_common.clock import SystemClock

async def unwatched(_proxy):
    await asyncio.Event().wait()

# Thawed, the watcher might look at the clock first; what must hold is the look before a write.
proxy.Proxy._watch = unwatched

async def main(path, port, serial, folder, seconds):
    clock = SystemClock()
    gate = Gate(deadline=clock.monotonic() + float(seconds), clock=clock, going=True)
    async with run_proxy(path=Path(path), upstream=("localhost", int(port)), serial=serial,
                         phone_folder=folder, package="com.example.shortvideo", gate=gate):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


class Feeder(threading.Thread):
    """Writes blocks into a blocking connection for as long as it takes them."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__(daemon=True)
        self._peer = peer
        self.written = 0

    def run(self) -> None:
        """Write until the other side is gone."""
        try:
            while True:
                self.written += self._peer.send(DATA)
        except OSError:
            pass


async def test_a_frozen_and_thawed_proxy_passes_nothing(tmp_path: Path) -> None:
    """SIGSTOP past the deadline with bytes and a command waiting, SIGCONT: nothing arrives."""
    path = tmp_path / "adb.sock"
    seconds = 2.0
    async with recording_server() as server:
        proxy = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            FROZEN_PROXY,
            str(path),
            str(server.port),
            SERIAL,
            FOLDER,
            str(seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        try:
            assert await asyncio.wait_for(proxy.stdout.readline(), 20) == b"ready\n"
            end = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
            upload = await asyncio.to_thread(_open, path, "sync:")
            command = await asyncio.to_thread(_open, path, None)
            upload.sendall(SEND)
            feeder = Feeder(upload)
            feeder.start()
            await server.until(20 * BLOCK)

            os.kill(proxy.pid, signal.SIGSTOP)
            await asyncio.to_thread(os.waitid, os.P_PID, proxy.pid, os.WSTOPPED | os.WNOWAIT)
            command.sendall(b"001eshell,v2,raw:input tap 100 200")
            await _quiet(server.data)
            heard, services = len(server.data), list(server.services)
            await asyncio.sleep(end + 0.2 - time.clock_gettime(time.CLOCK_BOOTTIME))
            assert feeder.written > heard
            os.kill(proxy.pid, signal.SIGCONT)
            await asyncio.to_thread(feeder.join, 10)
            assert not feeder.is_alive()
            await asyncio.to_thread(_read_to_end, command)
            upload.close()
            command.close()
        finally:
            os.kill(proxy.pid, signal.SIGCONT)
            proxy.kill()
            await proxy.wait()

        assert len(server.data) == heard
        assert server.services == services == ["sync:"]


def _open(path: Path, service: str | None) -> socket.socket:
    """Return a blocking connection to the phone, with *service* open on it when one is given."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(60)
    peer.connect(str(path))
    for request in (f"host:transport:{SERIAL}", service):
        if request is not None:
            peer.sendall(f"{len(request):04x}{request}".encode())
            assert peer.recv(4) == b"OKAY"
    return peer


def _read_to_end(peer: socket.socket) -> None:
    try:
        while peer.recv(4096):
            pass
    except ConnectionError:
        pass


async def _quiet(data: bytearray) -> None:
    """Return once what the kernel still held when the proxy froze has arrived."""
    async with asyncio.timeout(180):
        length = -1
        while length != len(data):
            length = len(data)
            await asyncio.sleep(0.1)
