"""The proxy of a hold: any of adb's words for *the* phone, none for another, none past its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.proxy.hold_proxy import hold_proxy
from phonefarm_common.clock import SystemClock
from support.proxy_bench import SERIAL, Server, ended_at_once, recording_server


@asynccontextmanager
async def held(*, going: bool = True) -> AsyncIterator[tuple[int, Gate, list[str], Server]]:
    """Yield the port, the gate, what was logged of it, and the server behind it."""
    clock = SystemClock()
    gate = Gate(deadline=clock.monotonic() + 60, clock=clock, going=going)
    said: list[str] = []

    async def told(text: str) -> None:
        said.append(text)

    async with recording_server() as server:
        upstream = ("localhost", server.port)
        proxy = hold_proxy(upstream=upstream, serial=SERIAL, gate=gate, log_line=told)
        async with proxy as address:
            yield int(address.rpartition(":")[2]), gate, said, server


async def ask(
    port: int, *requests: str
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Send requests on one connection; return the answer to the last, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    for request in requests:
        writer.write(f"{len(request):04x}{request}".encode())
        async with asyncio.timeout(180):
            answer = await reader.readexactly(4)
        if answer == b"OKAY" and request.startswith("host:tport"):
            await reader.readexactly(8)
    return answer, reader, writer


@pytest.mark.parametrize(
    "requests",
    [
        ("host:version",),
        ("host:devices",),
        ("host:features",),
        ("host:get-state",),
        (f"host-serial:{SERIAL}:get-state",),
        ("host:wait-for-any-device",),
        ("host:tport:any", "shell,v2,TERM=xterm,pty:"),
        ("host:transport-any", "shell,v2,raw:echo a; echo b"),
        (f"host:tport:serial:{SERIAL}", "exec:cmd package 'install' -S 12"),
        (f"host:transport:{SERIAL}", "sync:"),
    ],
    ids=lambda requests: requests[-1],
)
async def test_what_a_person_needs_passes(requests: tuple[str, ...]) -> None:
    """Also when adb does not say which phone it means: there is one."""
    async with held() as (port, _, said, server):
        answer, _, writer = await ask(port, *requests)
        writer.close()

    assert answer == b"OKAY"
    assert said == [f"by hand: {request}" for request in requests[1:]]
    assert server.services == list(requests[1:])


@pytest.mark.parametrize(
    "requests",
    [
        ("host:kill",),
        ("host:connect:127.0.0.1:1",),
        ("host:disconnect:",),
        ("host:track-devices",),
        ("host:emulator:5555",),
        ("host:transport:OTHER",),
        ("host:tport:serial:OTHER",),
        ("host-serial:OTHER:features",),
        ("host-transport-id:99:features",),
        ("host:transport-id:99",),
        (f"host-serial:{SERIAL}:forward:tcp:1;tcp:2",),
        ("host:forward:tcp:1;tcp:2",),
        *(
            ("host:tport:any", service)
            for service in (
                "reboot:",
                "reboot:bootloader",
                "root:",
                "unroot:",
                "remount:",
                "tcpip:5555",
                "usb:",
                "reverse:forward:tcp:1;tcp:2",
                "tcp:80",
                "localabstract:x",
                "jdwp:1",
                "dev:/dev/null",
                "disable-verity:",
                "shell:reboot",
                "shell,v2,raw:reboot -p",
                "shell",
                "",
            )
        ),
    ],
    ids=lambda requests: requests[-1],
)
async def test_what_ends_moves_or_leaves_the_phone_is_refused(requests: tuple[str, ...]) -> None:
    """Nothing of it reaches the adb server."""
    async with held() as (port, _, said, server):
        answer, reader, writer = await ask(port, *requests)
        async with asyncio.timeout(180):
            reason = await reader.read()
        writer.close()

    assert answer == b"FAIL"
    assert len(reason) > 4
    assert (said, server.services) == ([], [])
    assert not [asked for asked in server.requests if "OTHER" in asked or "forward" in asked]


async def test_before_its_begin_nothing_passes() -> None:
    """Not even a read: the phone may be another's still."""
    async with held(going=False) as (port, _, _, server):
        answer, _, writer = await ask(port, "host:version")
        writer.close()

    assert answer == b"FAIL"
    assert server.requests == []


async def test_an_open_shell_is_cut_at_once() -> None:
    """By a reset, so that nothing that waits is delivered."""
    async with held() as (port, gate, _, server):
        server.hold = True
        _, reader, writer = await ask(port, "host:tport:any", "shell:")
        assert await reader.readexactly(len(server.answer)) == server.answer
        writer.write(b"typed\n")
        await server.until(6)

        gate.close("the hold is over")
        at_once = await ended_at_once(reader)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    assert at_once
    assert bytes(server.data) == b"typed\n"
