"""The proxy of a hold: the adb server protocol for one phone and one person, on loopback.

A person needs a shell, install, push and pull. What would change how the phone is reached, end it,
or reach another one is refused. A shell is a shell: what is typed in it is not read.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError, Scope
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.proxy.proxy import (
    CONNECTIONS,
    SERVER_VERSION,
    Proxy,
    expect_okay,
    first_to_end,
    relay,
)
from phonefarm_agent.phones.proxy.stream import AdbProtocolError, GatedSocket, framed, okay

DIAL_SECONDS: Final = 5.0
FEATURES: Final = frozenset({"shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir"})
"""The phone's features that the proxy reports; with others, adb would ask for refused services."""
SERVICES: Final = frozenset({"shell", "exec", "sync"})
_NO_WORDS: Final = Scope(phone_folder="/data/local", package="", words=frozenset())


@asynccontextmanager
async def hold_proxy(
    *,
    upstream: tuple[str, int],
    serial: str,
    gate: Gate,
    log_line: Callable[[str], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve a person until the block ends; yield the address, 127.0.0.1:PORT.

    *log_line* gets a line for every service that is opened. Connections are closed the moment
    *gate* is closed or past its deadline; before the start gate none is served. Raises OSError.
    """
    proxy = HoldProxy(
        upstream=upstream, serial=serial, scope=_NO_WORDS, gate=gate, log_line=log_line
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen(CONNECTIONS)
        port = listener.getsockname()[1]
    except BaseException:
        listener.close()
        raise
    serving = asyncio.create_task(proxy.serve(listener))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@dataclass(kw_only=True)
class HoldProxy(Proxy):
    """The adb proxy of one hold, with the state that its connections share."""

    log_line: Callable[[str], Awaitable[None]]
    ids: set[str] = field(default_factory=set)
    """The ids of the transports to the phone; adb uses them instead of the serial."""

    async def serve_requests(self, client: GatedSocket) -> None:
        """Serve one connection; a request for any phone goes to ours."""
        if not self.gate.going:
            raise RequestRefusedError("the hold has not begun")
        request = await self.handshake(client)
        only = f"host-serial:{self.serial}:"
        asked = self._of_ours(request)
        match asked:
            case "version":
                await client.send(okay(SERVER_VERSION))
            case "devices" | "devices-l":
                await client.send(okay(self.own_line(await self.ask(f"host:{asked}"))))
            case "host-features":
                await client.send(okay(await self.ask("host:host-features")))
            case "features":
                told = (await self.ask(f"{only}features")).split(",")
                await client.send(okay(",".join(name for name in told if name in FEATURES)))
            case "get-state" | "get-serialno" | "get-devpath":
                await client.send(okay(await self.ask(f"{only}{asked}")))
            case "wait-for-any-device" | "wait-for-local-device" | "wait-for-usb-device":
                await client.send(b"OKAY")
                await self.ask(f"{only}get-state")
                await client.send(b"OKAY")
            case "transport":
                await self._serve_phone(client, tells_id=False)
            case "tport":
                await self._serve_phone(client, tells_id=True)
            case _:
                raise RequestRefusedError(
                    f"this request is not allowed on a held phone: {request[:200]}"
                )

    def _of_ours(self, request: str) -> str:
        """Return what is asked of our phone, or of whichever there is; "" for another one's."""
        for before in (f"host-serial:{self.serial}:", "host-usb:", "host-local:"):
            if request.startswith(before):
                return request.removeprefix(before)
        kind, _, rest = request.partition(":")
        if kind == "host-transport-id":
            number, _, asked = rest.partition(":")
            return asked if number in self.ids else ""
        if kind != "host":
            return ""
        ours = {"any", "usb", "local", f"serial:{self.serial}"}
        word, _, which = rest.partition(":")
        if word == "tport":
            return "tport" if which in ours else ""
        if word == "transport-id":
            return "transport" if which in self.ids else ""
        if word == "transport":
            return "transport" if which == self.serial else ""
        if word in {"transport-any", "transport-usb", "transport-local"}:
            return "transport"
        return "" if which else word

    async def _serve_phone(self, client: GatedSocket, *, tells_id: bool) -> None:
        """Connect the client to the phone and pass on the one service it requests."""
        async with self.dial() as upstream:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    await upstream.send(framed(f"host:tport:serial:{self.serial}"))
                    await expect_okay(upstream)
                    number = await upstream.receive_exactly(8)
            except TimeoutError as error:
                raise AdbProtocolError(
                    "the adb server did not open the transport in time"
                ) from error
            self.ids.add(str(int.from_bytes(number, "little")))
            await client.send(b"OKAY" + (number if tells_id else b""))
            service = await self.handshake(client)
            _check(service)
            await self.log_line(f"by hand: {service[:300]}")
            await upstream.send(framed(service))
            await first_to_end(relay(client, upstream), relay(upstream, client))


def _check(service: str) -> None:
    """Raise RequestRefusedError for a service that a person may not open."""
    kind, colon, text = service.partition(":")
    name = kind.partition(",")[0]
    if name not in SERVICES or not colon:
        message = (
            "only shell, install, push and pull are allowed; reboot, root, remount, tcpip and "
            "forward are not"
        )
        raise RequestRefusedError(f"{message}, not {service[:200]}")
    if text.split()[:1] in (["reboot"], ["/system/bin/reboot"]):
        raise RequestRefusedError(
            "a held phone must not be rebooted: take it into maintenance first"
        )
