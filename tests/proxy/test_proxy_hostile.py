"""Whatever bytes a run sends, the proxy serves the next connection and nothing slips past it."""

import asyncio
import struct
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from support.examples import at_most, given
from support.proxy_bench import FOLDER, SERIAL, Bench, proxy_bench

ALLOWED = frozenset({"sync:", "shell,v2,raw:input tap 1 2", "shell:input tap 1 2"})


FORBIDDEN = (
    "host:kill",
    "host:connect:10.0.0.1:5555",
    "host:forward:tcp:1;tcp:2",
    "host:transport:OTHER",
    "host:transport-any",
    "reverse:forward:tcp:1;tcp:2",
    "tcpip:5555",
    "usb:",
    "root:",
    "remount:",
    "reboot:",
    "sideload:1",
    "jdwp:1",
    "framebuffer:",
    "tcp:8080",
    "shell:",
    "exec:",
)


def _request(text: str) -> bytes:
    return f"{len(text.encode()):04x}{text}".encode()


def _sync(name: bytes, path: str) -> bytes:
    return struct.pack("<4sI", name, len(path)) + path.encode()


pieces = st.one_of(
    st.binary(max_size=64),
    st.sampled_from(
        [
            _request(f"host:transport:{SERIAL}"),
            _request(f"host:tport:serial:{SERIAL}"),
            _request("host:version"),
            *(_request(text) for text in FORBIDDEN),
            _request("sync:"),
            _request("shell,v2,raw:input tap 1 2"),
            _request("shell:input tap 1 2; reboot"),
            _sync(b"STAT", f"{FOLDER}/x"),
            _sync(b"SEND", f"{FOLDER}/x,33188"),
            _sync(b"RECV", "/etc/hosts"),
            struct.pack("<4sI", b"DATA", 16),
            struct.pack("<4sI", b"DONE", 0xFFFFFFFF),
            struct.pack("<4sI", b"STAT", 0xFFFFFFFF),
        ]
    ),
)


@at_most(150)
@given(st.lists(pieces, max_size=8))
def test_hostile_bytes_neither_end_the_proxy_nor_pass_it(parts: list[bytes]) -> None:
    """After any mixture of bytes the proxy answers the next client; only listed services passed."""
    asyncio.run(_one_example(b"".join(parts)))


async def _one_example(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with proxy_bench(Path(folder)) as bench:
            await _throw(bench, data)
            answer = await bench.ask("host:version")

            assert answer == b"OKAY00040029"
            assert set(bench.server.services) <= ALLOWED
            assert b"/etc/hosts" not in bytes(bench.server.data)


async def _throw(bench: Bench, data: bytes) -> None:
    reader, writer = await bench.dial()
    try:
        async with asyncio.timeout(180):
            writer.write(data)
            writer.write_eof()
            await reader.read(-1)
    except ConnectionError:
        pass
    finally:
        writer.close()
