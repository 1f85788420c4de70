"""How much a caller may ask for: rate, connections, slow and idle ones, lengths of lists."""

import asyncio
import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway.support.farm import Farm, enqueue_body, farm
from gateway.support.memory_controller import READ_ONLY_KEY
from phonefarm_common.clock import SystemClock
from phonefarm_gateway.rest.auth import MOST_RECENT, RECENT_SECONDS, RecentKeys
from phonefarm_gateway.rest.rate_limit import MOST_BUCKETS, RateLimiter
from support.certificates import make_self_signed
from support.ipv6 import needs_ipv6
from support.live_farm import eventually

PATIENCE_SECONDS = 180.0
SMALL_BYTES = 4096
ANSWERS = 40
"""Of 100 KB each: more than what the buffers on the way take."""


class _Clock(SystemClock):
    """Moves when told."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds told."""
        return self.seconds


def test_a_bucket_empties_and_fills_steadily() -> None:
    """A burst at once, then one for each part of a second that passed; others are not touched."""
    clock = _Clock()
    rates = RateLimiter(per_second=2, burst=3, clock=clock)

    burst = [rates.seconds_until("a") for _ in range(4)]
    other = rates.seconds_until("b")
    clock.seconds = 0.5
    later = [rates.seconds_until("a") for _ in range(2)]

    assert burst == [0, 0, 0, 0.5]
    assert other == 0
    assert later == [0, 0.5]


def test_no_limit_never_waits() -> None:
    """0 a second means without limit."""
    rates = RateLimiter(per_second=0, burst=1, clock=_Clock())

    assert {rates.seconds_until("a") for _ in range(10)} == {0}


def test_made_up_keys_do_not_fill_the_memory() -> None:
    """The oldest bucket goes when there are too many."""
    rates = RateLimiter(per_second=1, burst=1, clock=_Clock())

    for number in range(MOST_BUCKETS + 5):
        rates.seconds_until(str(number))

    assert len(rates._buckets) == MOST_BUCKETS


def test_a_recent_key_is_forgotten_after_a_minute() -> None:
    """For its scope alone, at once when it is refused; and the oldest go when there are many."""
    clock = _Clock()
    recent = RecentKeys(clock=clock)

    recent.add("a", "read")
    known = [recent.has("a", "read"), recent.has("a", "submit"), recent.has("b", "read")]
    clock.seconds = RECENT_SECONDS
    later = recent.has("a", "read")
    for number in range(MOST_RECENT + 1):
        recent.add(str(number), "read")
    recent.drop("2", "read")

    assert known == [True, False, False]
    assert not later
    assert [recent.has(key, "read") for key in ("0", "1", "2", "3")] == [False, True, False, True]


async def test_a_key_that_asks_too_often_is_429() -> None:
    """With the seconds to wait; another key is served, and what needs no key is."""
    async with farm(changes={"rate_limit": 0.1, "rate_burst": 2}) as it:
        answers = [await it.call("GET", "/phones") for _ in range(3)]
        enqueued = await it.enqueue()
        other = await it.call("GET", "/phones", key=READ_ONLY_KEY)
        open_to_all = await it.call("GET", "/healthz")

        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[-1].body["error"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
        assert enqueued.status == 429
        assert not it.controller.enqueued
        assert (other.status, open_to_all.status) == (200, 200)


async def _connected(it: Farm) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(it.base)
    return await asyncio.open_connection(place.hostname, place.port)


async def test_one_connection_too_many_is_503() -> None:
    """It is told so and closed; with the others gone there is room again."""
    async with farm(changes={"connections": 3}) as it, asyncio.timeout(PATIENCE_SECONDS):
        held = [await _connected(it) for _ in range(3)]
        for _, writer in held:  # each has been accepted once it was answered
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in held:
            await reader.readuntil(b'{"status":"ok"}')
        reader, writer = await _connected(it)
        refused = await reader.read()
        writer.close()
        for _, one in held:
            one.close()
        while True:
            reader, writer = await _connected(it)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if answer.startswith(b"HTTP/1.1 200"):
                break

        assert refused.startswith(b"HTTP/1.1 503")
        assert b"too_many_connections" in refused
        assert b"Retry-After" in refused


@pytest.mark.parametrize(
    "said", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_an_idle_connection_is_closed(said: bytes) -> None:
    """Whether it said nothing, half a head, or had an answer already."""
    async with farm(idle=0.3) as it, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await _connected(it)
        writer.write(said)

        await reader.read()  # until it is closed
        writer.close()


async def test_a_head_that_drips_is_closed() -> None:
    """Sending a byte now and then does not keep a connection."""
    async with farm(idle=0.5) as it, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await _connected(it)
        closed = asyncio.create_task(reader.read())
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        while not closed.done():
            try:
                writer.write(b"X")
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.wait({closed}, timeout=0.05)
        writer.close()
        await asyncio.gather(closed, return_exceptions=True)


@pytest.mark.parametrize("size", [8_200, 100_000])
async def test_a_head_that_is_too_long_is_refused(size: int) -> None:
    """A header line has a limit; what is no HTTP is answered 400, in plain text, and cut off."""
    async with farm() as it, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await _connected(it)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size + b"\r\n\r\n")

        answer = await reader.read()
        writer.close()

        assert b" 400 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": {"routing": "group", "phone_ids": ["p"] * 1001}}, "target.phone_ids"),
        ({"target": {"routing": "group", "account_ids": ["p"] * 1001}}, "target.account_ids"),
        ({"target": {"routing": "direct", "phone_id": "p" * 129}}, "target.phone_id"),
        ({"target": {"routing": "queue", "phone_group": "p" * 129}}, "target.phone_group"),
        ({"request_id": "r" * 257}, "request_id"),
        ({"capability": "c" * 129}, "capability"),
        ({"callback": {"url": "http://e.example/" + "x" * 2048}}, "callback.url"),
        ({"requested_by": {"system": "s" * 129}}, "requested_by.system"),
        ({"requested_by": {"system": "s", "user": "u" * 257}}, "requested_by.user"),
    ],
)
async def test_every_length_has_a_limit(change: dict[str, Any], field: str) -> None:
    """What is too long is refused by its field."""
    async with farm() as it:
        answer = await it.call("POST", "/capability-requests/enqueue", enqueue_body(**change))

        assert (answer.status, answer.body["errors"][0]["field"]) == (422, field)


def _connected_to(host: str | None, port: int | None, trusted: Path | None) -> socket.socket:
    link: socket.socket = socket.socket(socket.AF_INET6 if host == "::1" else socket.AF_INET)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)  # a small window
    link.settimeout(PATIENCE_SECONDS)
    link.connect((host, port))
    if trusted is None:
        return link
    context = ssl.create_default_context(cafile=str(trusted))
    with link:  # which the wrapped one leaves empty
        return context.wrap_socket(link, server_hostname=host)


async def _asked_for_much(it: Farm, trusted: Path | None = None) -> socket.socket:
    """Return a connection on which megabytes were asked for."""
    place = urlsplit(it.base)
    link = await asyncio.to_thread(_connected_to, place.hostname, place.port, trusted)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    await asyncio.to_thread(link.sendall, request * ANSWERS)
    return link


@pytest.mark.parametrize("secure", [False, True])
async def test_who_does_not_read_keeps_nobody_out(tmp_path: Path, secure: bool) -> None:
    """Without a key, over TLS too: the places of callers who read nothing are free again."""
    pair = make_self_signed(tmp_path, "gateway")
    changes: dict[str, Any] = {"connections": 3}
    changes |= {"tls": (pair.certificate, pair.key)} if secure else {}
    trusted = pair.certificate if secure else None
    async with farm(stalled=0.5, changes=changes) as it, asyncio.timeout(PATIENCE_SECONDS):
        held = [await _asked_for_much(it, trusted) for _ in range(3)]

        async def is_answered() -> bool:
            return await asyncio.to_thread(_is_healthy, it.base, trusted)

        await eventually(is_answered, what="a free place")
        for one in held:
            one.close()


def _is_healthy(base: str, trusted: Path | None) -> bool:
    place = urlsplit(base)
    with suppress(OSError), closing(_connected_to(place.hostname, place.port, trusted)) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return link.recv(64).startswith(b"HTTP/1.1 200")
    return False


async def test_who_reads_slowly_is_served() -> None:
    """For many times the limit; what counts is that the caller reads on."""
    async with farm(stalled=0.5) as it, asyncio.timeout(PATIENCE_SECONDS):
        link = await _asked_for_much(it)
        link.setblocking(False)
        loop, read = asyncio.get_running_loop(), []

        for _ in range(40):  # 2 s, four times the limit
            read.append(len(await loop.sock_recv(link, SMALL_BYTES)))
            await asyncio.wait({loop.create_future()}, timeout=0.05)
        link.close()

    assert min(read) > 0


@needs_ipv6
async def test_every_address_is_both_ipv6_and_ipv4() -> None:
    """`--listen [::]:PORT` as gRPC, nginx and others understand it."""
    async with farm(changes={"host": "::"}) as it:
        port = urlsplit(it.base).port
        answers = [
            await asyncio.to_thread(_is_healthy, f"http://{host}:{port}", None)
            for host in ("127.0.0.1", "[::1]")
        ]

    assert answers == [True, True]
