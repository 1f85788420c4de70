"""The narrow door to the UI server: what passes is written anew, everything else is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.proxy.proxy import run_proxy
from phonefarm_agent.phones.proxy.ui_calls import rewritten
from phonefarm_common.clock import SystemClock
from support.examples import given

SERIAL = "127.0.0.1:40001"
PACKAGE = "com.example.shortvideo"
PORT = 23456
SELECTOR = {
    "mask": 0x0A0000,
    "childOrSibling": [],
    "childOrSiblingSelector": [],
    "focused": True,
    "packageName": PACKAGE,
}


def call(method: str, *params: Any, **rest: Any) -> bytes:
    """Return one JSON-RPC call."""
    return json.dumps(
        {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params), **rest}
    ).encode()


def post(body: bytes, path: str = "/jsonrpc/0") -> bytes:
    """Return the request as a run might send it."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


GOOD = [
    call("dumpWindowHierarchy", False, 50, True),
    call("getText", SELECTOR),
    call("setText", SELECTOR, "caf\u00e9 \U0001f35c"),
    call("getClipboard"),
    call("setClipboard", None, "x" * 10_000),
    call("pasteClipboard"),
    call("takeScreenshot", 1, 80),
]
BAD = [
    call("deviceInfo"),
    call("takeScreenshot", 1, 91),
    call("takeScreenshot", 2, 80),
    call("takeScreenshot", 1, 80, "/sdcard/a.jpg"),
    call("clearTextField", SELECTOR),
    call("getText", {**SELECTOR, "resourceId": "a:id/b", "mask": 0x2A0000}),
    call("executeShellCommand", "reboot", 1000),
    call("takeScreenshot", "/sdcard/a.png", 1, 80),
    call("setConfigurator", {}),
    call("click", 1, 2),
    call("dumpWindowHierarchy", False, 81, True),
    call("dumpWindowHierarchy", False, True, True),
    call("dumpWindowHierarchy", 0, 50, True),
    call("getText", {**SELECTOR, "packageName": "com.example.bank"}),
    call("getText", {**SELECTOR, "mask": 0x020000}),
    call("getText", {**SELECTOR, "textMatches": ".*"}),
    call("getText", {**SELECTOR, "childOrSibling": ["child"]}),
    call("getText", {name: value for name, value in SELECTOR.items() if name != "packageName"}),
    call("setText", SELECTOR, "x" * 10_001),
    call("setText", SELECTOR, 5),
    call("setClipboard", "label", "text"),
    call("getClipboard", extra=1),
    b"[" + call("getClipboard") + b"]",
    b'{"method": "getClipboard", "method": "executeShellCommand", "params": []}',
    b'{"method": "getClipboard", "params": {"a": 1}}',
    b"[" * 100_000,
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("body", GOOD)
def test_what_a_run_needs_passes_as_pure_ascii(body: bytes) -> None:
    """The call means the same and holds no byte that the server would misread."""
    written = json.loads(sent := rewritten(body, PACKAGE))

    asked = json.loads(body)
    assert sent.isascii()
    assert (written["method"], written["params"]) == (asked["method"], asked["params"])


@pytest.mark.parametrize("body", BAD)
def test_everything_else_is_refused(body: bytes) -> None:
    """Other methods, other apps, other shapes: none is passed on."""
    with pytest.raises(RequestRefusedError):
        rewritten(body, PACKAGE)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda method, params: json.dumps({"method": method, "params": params}).encode(),
        st.sampled_from(["executeShellCommand", "setText", "dumpWindowHierarchy", "getText"]),
        _json,
    )
)
def test_no_bytes_break_the_judge(body: bytes) -> None:
    """Whatever comes is refused, or is one of the known calls."""
    try:
        written = rewritten(body, PACKAGE)
    except RequestRefusedError:
        return
    assert json.loads(written)["method"] != "executeShellCommand"


@dataclass(kw_only=True)
class Bench:
    """A proxy in front of an adb server whose phone answers HTTP with canned bytes."""

    path: Path
    heard: bytearray = field(default_factory=bytearray)
    services: list[str] = field(default_factory=list)
    answer: bytes = (
        b"HTTP/1.1 200 OK \r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play the adb server of one connection."""
        try:
            for _ in range(2):
                length = int(await reader.readexactly(4), 16)
                self.services.append((await reader.readexactly(length)).decode())
                writer.write(b"OKAY")
            while data := await reader.read(65536):
                self.heard += data
                if self.heard.count(b"\r\n\r\n"):
                    writer.write(self.answer)
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def exchange(self, *requests: bytes) -> bytes:
        """Open the door, send the requests one after the other, return all that came back."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        said = b""
        try:
            async with asyncio.timeout(180):
                for name in (f"host:transport:{SERIAL}", "tcp:9008"):
                    writer.write(f"{len(name):04x}{name}".encode())
                    if (status := await reader.readexactly(4)) != b"OKAY":
                        return status + await reader.read()
                for request in requests:
                    writer.write(request)
                    said += await reader.readuntil(b"\r\n\r\n")
                writer.write_eof()
                said += await reader.read()
        except (EOFError, ConnectionError) as error:
            said += getattr(error, "partial", b"")
        finally:
            writer.close()
        return said


@asynccontextmanager
async def door(folder: Path, *, going: bool = True, port: int = PORT) -> AsyncIterator[Bench]:
    """Yield a bench whose run has a UI server at *port*."""
    clock = SystemClock()
    bench = Bench(path=folder / "adb.sock")
    server = await asyncio.start_server(bench.serve, "127.0.0.1", 0)
    async with (
        server,
        run_proxy(
            path=bench.path,
            upstream=("127.0.0.1", server.sockets[0].getsockname()[1]),
            serial=SERIAL,
            phone_folder="/data/local/tmp/phonefarm/run-1",
            package=PACKAGE,
            gate=Gate(deadline=clock.monotonic() + 600, clock=clock, going=going),
            ui_port=lambda: port,
        ),
    ):
        yield bench


async def test_a_call_passes_to_the_runs_own_port(tmp_path: Path) -> None:
    """The container names 9008; what is dialled is the port the agent chose."""
    async with door(tmp_path) as bench:
        said = await bench.exchange(post(call("getClipboard")), post(call("pasteClipboard")))

    assert bench.services == [f"host:transport:{SERIAL}", f"tcp:{PORT}"]
    assert said.count(b"HTTP/1.1 200") == 2
    assert b'"method": "getClipboard"' in bench.heard
    assert b"Host: x" not in bench.heard


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(call("executeShellCommand", "reboot", 1)),
        post(call("getClipboard"), path="/stop"),
        b"GET /screenshot/0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /stop HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE /jsonrpc/0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"POST /jsonrpc/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
        + b"a" * 200_000,
    ],
)
async def test_what_is_no_call_of_a_run_reaches_no_phone(
    tmp_path: Path, request_bytes: bytes
) -> None:
    """The client is told why with 403, and not a byte goes on."""
    async with door(tmp_path) as bench:
        said = await bench.exchange(request_bytes)

    assert said.startswith(b"HTTP/1.1 403") or said == b""
    assert not bench.heard


async def test_before_go_and_without_a_server_the_door_is_closed(tmp_path: Path) -> None:
    """Only a run that acts reaches it, and only while the agent keeps one up."""
    async with door(tmp_path, going=False) as bench:
        early = await bench.exchange(post(call("getClipboard")))
    async with door(tmp_path, port=0) as bench:
        down = await bench.exchange(post(call("getClipboard")))

    assert early.startswith(b"FAIL")
    assert b"before the start gate opens" in early
    assert b"the UI server is not running" in down


async def test_an_answer_that_is_no_http_ends_the_connection(tmp_path: Path) -> None:
    """Another program at that port is not relayed."""
    async with door(tmp_path) as bench:
        bench.answer = b"SSH-2.0-OpenSSH\r\n\r\n"
        said = await bench.exchange(post(call("getClipboard")))

    assert said == b""
