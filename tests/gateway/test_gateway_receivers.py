"""Receivers that fail in every way they can: what the delivery's log says of each.

A real controller owes, a real gateway sends, over real sockets. All cases run at the same time, so
none holds up another.
"""

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from gateway.support.farm import Names
from gateway.support.sending import Sending, sending
from phonefarm.v1 import inspect_pb2
from phonefarm_common.config import ConfigError
from phonefarm_gateway.callbacks.limits import CallbackLimits
from phonefarm_gateway.callbacks.sender import tls_context
from support.certificates import make_authority, make_self_signed, make_signed

ATTEMPT = 1.5
LIMITS = CallbackLimits(attempt=ATTEMPT, patience=5, stop=0.2)
FAILED = "pending"

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a receiver behaves once it has read the request, and what must come of it."""

    talk: Talk
    outcome: str  # of the attempt: delivered, failed or gone
    status: int = 0
    error: str = ""  # a pattern
    state: str = FAILED
    waits: tuple[float, float] = (4.0, 6.1)  # until the next attempt, when there is one


def says(answer: bytes) -> Talk:
    """Answer these bytes and hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return talk


def status(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return an HTTP answer."""
    head = [f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer nothing, until the other side hangs up."""
    await reader.read()


async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer well, after a moment."""
    await asyncio.sleep(ATTEMPT / 5)
    writer.write(status("200 OK"))


async def byte_by_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer well, one byte a while, which is never done in time."""
    with suppress(ConnectionError):
        for byte in status("200 OK", *(f"X-{n}: {'x' * 40}" for n in range(40))):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)


async def plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak HTTP to whoever comes with TLS."""
    writer.write(status("400 Bad Request"))
    await reader.read()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send headers as fast as they are taken, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    with suppress(ConnectionError):
        while True:
            writer.write(b"X: " + b"x" * 1000 + b"\r\n")
            await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an end."""
    linger = struct.pack("ii", 1, 0)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(_SOL_SOCKET, _SO_LINGER, linger)
    writer.transport.abort()


_SOL_SOCKET, _SO_LINGER = 1, 13


def huge(line: str) -> Talk:
    """Answer with a body of 200 MB, as much of it as is taken."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {line}\r\nContent-Length: 200000000\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(2000):
                writer.write(b"y" * 100_000)
                await writer.drain()

    return talk


WAYS: dict[str, Way] = {
    "well": Way(
        talk=says(status("204 No Content")), outcome="delivered", status=204, state="delivered"
    ),
    "slow": Way(talk=slowly, outcome="delivered", status=200, state="delivered"),
    "never answers": Way(talk=never, outcome="failed", error=r"no response within 1\.5 s"),
    "byte by byte": Way(talk=byte_by_byte, outcome="failed", error=r"no response within 1\.5 s"),
    "500": Way(
        talk=says(status("500 Oh", body=b"out of\n\x00 order")),
        outcome="failed",
        status=500,
        error="HTTP 500: out of order",
    ),
    "404": Way(talk=says(status("404 Not Found")), outcome="failed", status=404, error="HTTP 404"),
    "100 for ever": Way(
        talk=says(b"HTTP/1.1 100 Continue\r\n\r\n" * 5), outcome="failed", error=".+"
    ),
    "429 with a time": Way(
        talk=says(status("429 Later", "Retry-After: 120")),
        outcome="failed",
        status=429,
        error="HTTP 429",
        waits=(118, 121),
    ),
    "503 with a week": Way(
        talk=says(status("503 Later", "Retry-After: 604800")),
        outcome="failed",
        status=503,
        error="HTTP 503",
        waits=(3590, 3601),
    ),
    "429 with nonsense": Way(
        talk=says(status("429 Later", "Retry-After: when I like")),
        outcome="failed",
        status=429,
        error="HTTP 429",
    ),
    "410": Way(
        talk=says(status("410 Gone")), outcome="gone", status=410, error="HTTP 410", state="stopped"
    ),
    "closes at once": Way(talk=says(b""), outcome="failed", error="closed the connection before"),
    "resets": Way(talk=reset, outcome="failed", error="reset|closed the connection before"),
    "closes within the headers": Way(
        talk=says(b"HTTP/1.1 200 OK\r\nContent-"),
        outcome="failed",
        error="closed the connection before the end of its response",
    ),
    "closes within the body": Way(
        talk=says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of"),
        outcome="delivered",
        status=200,
        state="delivered",
    ),
    "closes within a bad body": Way(
        talk=says(b"HTTP/1.1 502 Bad\r\nContent-Length: 100\r\n\r\nhalf of"),
        outcome="failed",
        status=502,
        error="HTTP 502",
    ),
    "no HTTP": Way(talk=says(b"SSH-2.0-OpenSSH_9\r\n\r\n"), outcome="failed", error="not HTTP"),
    "endless headers": Way(talk=endless_headers, outcome="failed", error=".+"),
    "huge body": Way(talk=huge("200 OK"), outcome="delivered", status=200, state="delivered"),
    "huge bad body": Way(
        talk=huge("500 Oh"), outcome="failed", status=500, error=r"HTTP 500: y{100,250}$"
    ),
}


@asynccontextmanager
async def receiver(
    talk: Talk, tls: ssl.SSLContext | None = None, *, is_hasty: bool = False
) -> AsyncIterator[tuple[int, list[str]]]:
    """Yield the port of a receiver that reads a request and then talks, and the paths it saw.

    One that is hasty reads nothing first.
    """
    paths: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError), closing(writer):
            if is_hasty:
                await talk(reader, writer)
                return
            head = await reader.readuntil(b"\r\n\r\n")
            paths.append(head.split()[1].decode())
            length = re.search(rb"Content-Length: (\d+)", head)
            if length:
                await reader.readexactly(int(length[1]))
            await talk(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], paths
    finally:
        server.close()


def told(line: inspect_pb2.DeliveryLine) -> tuple[str, int, str]:
    """Return the first attempt's outcome, status and error."""
    first = line.log[0]
    return first.outcome, first.http_status, first.error


def wait_of(line: inspect_pb2.DeliveryLine) -> float:
    """Return the seconds from the end of the first attempt to the next."""
    return line.due_at.ToNanoseconds() / 1e9 - line.log[0].ended_at.ToNanoseconds() / 1e9


async def test_what_becomes_of_a_delivery_whatever_its_receiver_does(tmp_path: Path) -> None:
    """Each outcome, each error, each wait; nothing is sent anywhere else; all within a moment."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(sending(tmp_path, limits=LIMITS))
        ports = {
            name: await stack.enter_async_context(receiver(way.talk)) for name, way in WAYS.items()
        }
        owed = {
            name: await it.owe(f"http://127.0.0.1:{port}/hook?who=me")
            for name, (port, _) in ports.items()
        }

        lines = {name: await it.first(process_id) for name, process_id in owed.items()}

        for name, way in WAYS.items():
            outcome, http_status, error = told(lines[name])
            assert (outcome, http_status) == (way.outcome, way.status), (name, error)
            assert re.search(way.error, error) if way.error else error == "", (name, error)
            assert lines[name].status == way.state, name
            assert ports[name][1] == ["/hook?who=me"], name
            if way.state == FAILED:
                assert way.waits[0] <= wait_of(lines[name]) <= way.waits[1], name


async def test_a_redirect_leads_nowhere(tmp_path: Path) -> None:
    """Neither to another host nor to an address that a caller may not name."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(sending(tmp_path, limits=LIMITS))
        target, seen = await stack.enter_async_context(receiver(says(status("200 OK"))))
        owed = {}
        for code in (301, 302, 303, 307, 308):
            answer = status(f"{code} There", f"Location: http://127.0.0.1:{target}/x")
            port, _ = await stack.enter_async_context(receiver(says(answer)))
            owed[code] = await it.owe(f"http://127.0.0.1:{port}/")

        lines = {code: await it.first(process_id) for code, process_id in owed.items()}

        assert {code: told(line)[:2] for code, line in lines.items()} == {
            code: ("failed", code) for code in owed
        }
        assert seen == []


async def test_nobody_listens(tmp_path: Path) -> None:
    """A closed port and a name without an address are told as what they are."""
    async with receiver(never) as (port, _):
        closed = f"http://127.0.0.1:{port}/"
    async with sending(tmp_path, limits=LIMITS) as it:
        refused = told(await it.first(await it.owe(closed)))
        nameless = told(await it.first(await it.owe("http://nowhere.example/")))

        assert refused[:2] == nameless[:2] == ("failed", 0)
        assert "cannot connect: Connect" in refused[2]
        assert "nowhere.example has no address" in nameless[2]


PRIVATE_LITERALS = [
    "127.0.0.1",
    "127.0.0.1.",
    "10.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "255.255.255.255",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
]
PRIVATE_NAMES = {
    "v4.example": ("10.0.0.1",),
    "metadata.example": ("169.254.169.254",),
    "loop.example": ("127.0.0.1",),
    "v6.example": ("::1", "fe80::1%2", "fc00::1"),
    "mapped.example": ("::ffff:127.0.0.1",),
    "nat64.example": ("64:ff9b::7f00:1",),
    "sixtofour.example": ("2002:7f00:1::",),
    "nothing.example": (),
}


async def test_private_addresses_are_not_dialled_in_any_dress(tmp_path: Path) -> None:
    """By name or by literal, IPv4 or IPv6, mapped, translated, zoned, short, hexadecimal, octal."""
    names = Names()
    names.names = dict(PRIVATE_NAMES)
    async with receiver(says(status("200 OK"))) as (port, seen):
        async with sending(tmp_path, limits=LIMITS, allowed=(), lookup=names) as it:
            hosts = [*PRIVATE_LITERALS, *PRIVATE_NAMES]
            owed = {host: await it.owe(f"http://{host}:{port}/") for host in hosts}

            lines = {host: await it.first(process_id) for host, process_id in owed.items()}

        for host, line in lines.items():
            outcome, http_status, error = told(line)
            assert (outcome, http_status) == ("failed", 0), host
            assert error.startswith("address_not_allowed"), (host, error)
            assert line.status == FAILED, host
        assert seen == []
        assert not set(names.asked) - set(PRIVATE_NAMES)


def serving(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's side of TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def tls_outcome(
    it: Sending,
    talk: Talk,
    tls: ssl.SSLContext | None,
    *,
    host: str = "127.0.0.1",
    is_hasty: bool = False,
) -> tuple[str, int, str]:
    """Return what becomes of a delivery to an https receiver."""
    async with receiver(talk, tls, is_hasty=is_hasty) as (port, _):
        return told(await it.first(await it.owe(f"https://{host}:{port}/")))


async def test_only_certificates_that_can_be_trusted_are(tmp_path: Path) -> None:
    """Self-signed, of an unknown authority, for another host, no TLS at all; and a good one."""
    authority = make_authority(tmp_path)
    (tmp_path / "other").mkdir()
    stranger = make_authority(tmp_path / "other")
    made = {
        "self-signed": make_self_signed(tmp_path, "self"),
        "stranger": make_signed(tmp_path, "strange", stranger, valid_for="IP:127.0.0.1"),
        "other host": make_signed(tmp_path, "elsewhere", authority, valid_for="DNS:a.example"),
        "good": make_signed(tmp_path, "good", authority, valid_for="IP:127.0.0.1"),
        "good name": make_signed(tmp_path, "named", authority, valid_for="DNS:hook.example"),
    }
    contexts = {name: serving(one.certificate, one.key) for name, one in made.items()}
    old = serving(made["good"].certificate, made["good"].key)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    well = says(status("200 OK"))
    names = Names(hook_example=("127.0.0.1",))
    trust = authority.certificate
    async with sending(tmp_path, limits=LIMITS, lookup=names, callback_ca=trust) as it:
        found = {
            name: await tls_outcome(
                it, well, tls, host="hook.example" if name == "good name" else "127.0.0.1"
            )
            for name, tls in contexts.items()
        }
        plain = await tls_outcome(it, plainly, None, is_hasty=True)
        outdated = await tls_outcome(it, well, old)

    assert found["good"] == found["good name"] == ("delivered", 200, "")
    for name, wrong in (
        ("self-signed", "self-signed certificate"),
        ("stranger", "unable to get local issuer certificate"),
        ("other host", "IP address mismatch"),
    ):
        assert found[name][:2] == ("failed", 0)
        assert found[name][2].startswith("the receiver's certificate is not trusted: "), found[name]
        assert wrong in found[name][2]
    assert plain[:2] == outdated[:2] == ("failed", 0)
    assert plain[2].startswith("the TLS connection failed: "), plain
    # How it ends depends on whether the server's alert or its reset comes first.
    assert re.match(r"(the TLS connection failed|cannot connect): .+", outdated[2]), outdated


async def test_an_authority_is_trusted_only_when_it_was_named(tmp_path: Path) -> None:
    """Without the setting the same receiver is a stranger's."""
    authority = make_authority(tmp_path)
    good = make_signed(tmp_path, "good", authority, valid_for="IP:127.0.0.1")
    async with sending(tmp_path, limits=LIMITS) as it:
        context = serving(good.certificate, good.key)

        outcome, _, error = await tls_outcome(it, says(status("200 OK")), context)

    assert outcome == "failed"
    assert error.startswith("the receiver's certificate is not trusted: ")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_authorities_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    """The gateway does not start as if it trusted somebody."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigError, match=r"--callback-ca: cannot use .*ca\.pem"):
        tls_context(file)
