"""The per-run adb proxy: the adb *server* protocol for one phone and one run's allow-list.

Everything that is not listed here is refused with a reason. The gate is asked again before every
chunk, in both directions (`stream`).
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from phonefarm_agent.phones.proxy.allowlist import (
    DEFAULT_WORDS,
    Effect,
    RequestRefusedError,
    Scope,
    check_command,
)
from phonefarm_agent.phones.proxy.gate import Gate, GateClosedError
from phonefarm_agent.phones.proxy.stream import (
    AdbProtocolError,
    GatedSocket,
    fail,
    framed,
    okay,
    read_request,
)
from phonefarm_agent.phones.proxy.sync import relay_sync, sync_fail
from phonefarm_agent.phones.proxy.ui_door import SERVICE as UI_SERVICE
from phonefarm_agent.phones.proxy.ui_door import serve_ui_calls

__all__ = ["DEFAULT_WORDS", "Gate", "run_proxy"]

CONNECTIONS = 16
HANDSHAKE_SECONDS = 30.0
DIAL_SECONDS = 5.0
ACCEPT_PAUSE_SECONDS = 0.1
LISTING_LIMIT = 256 * 1024
REFUSALS_LOGGED = 50
SERVER_VERSION = f"{41:04x}"
"""The answer to `host:version`: the adb server protocol since platform-tools 29."""

log = structlog.get_logger()


class ServerFailedError(Exception):
    """The adb server answered FAIL; the text is its reason, which the proxy passes on."""


@asynccontextmanager
async def run_proxy(
    *,
    path: Path,
    upstream: tuple[str, int],
    serial: str,
    phone_folder: str,
    package: str,
    gate: Gate,
    media_folder: str = "",
    urls: frozenset[str] = frozenset(),
    installs: bool = False,
    words: frozenset[str] = DEFAULT_WORDS,
    ui_port: Callable[[], int] = lambda: 0,
) -> AsyncIterator[None]:
    """Serve the run's adb.sock at *path* until the block ends; the socket file is gone afterwards.

    *upstream* is the real adb server, *package* the one app `am` may start and stop (empty: none),
    *media_folder* a second folder, where apps can read (empty: none), *urls* what `am` may open in
    the phone's viewer, *installs* whether `pm` may install a file of the run's folder, *ui_port*
    where the run's UI server listens on the phone (0: nowhere).
    Connections are closed the moment *gate* is closed or past its deadline; a renewed one takes new
    connections.
    Raises OSError when the socket cannot be made (a path over 107 bytes is one reason).
    """
    scope = Scope(
        phone_folder=phone_folder,
        media_folder=media_folder,
        package=package,
        urls=urls,
        installs=installs,
        words=words,
    )
    proxy = Proxy(upstream=upstream, serial=serial, scope=scope, gate=gate, ui_port=ui_port)
    listener = _listen(path)
    serving = asyncio.create_task(proxy.serve(listener))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - one unlink in a directory of ours


@dataclass(kw_only=True)
class Proxy:
    """The proxy of one run: what its connections share."""

    upstream: tuple[str, int]
    serial: str
    scope: Scope
    gate: Gate
    ui_port: Callable[[], int] = lambda: 0
    connections: int = 0
    refusals: int = 0

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled; the listener is closed then, and every connection."""
        with contextlib.closing(listener):
            async with asyncio.TaskGroup() as tasks:
                loop = asyncio.get_running_loop()
                loop.add_reader(listener, self._accept, listener, tasks)
                try:
                    await self._watch()
                finally:
                    loop.remove_reader(listener)

    def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        """Serve the next connection in a task of its own; above the limit it is refused."""
        try:
            peer, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no file descriptor is left, say: look again a little later
            log.warning("proxy.accept_failed", serial=self.serial, error=str(error))
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_again, listener, tasks)
            return
        if self.connections >= CONNECTIONS:
            self._turn_away(peer)
            return
        client = GatedSocket(peer, self.gate)
        self.connections += 1
        serving = tasks.create_task(self._serve_client(client))
        serving.add_done_callback(lambda _: self._end(client))

    def _accept_again(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, tasks)

    def _turn_away(self, peer: socket.socket) -> None:
        self._note_refusal("too many connections")
        with contextlib.closing(peer), contextlib.suppress(OSError):
            peer.setblocking(False)
            peer.send(fail(f"the run has more than {CONNECTIONS} connections open"))

    def _end(self, client: GatedSocket) -> None:
        client.close()
        self.connections -= 1

    async def _watch(self) -> None:
        """Close all connections, idle ones too, once the gate has closed."""
        while True:
            reason = self.gate.closed_reason
            if reason is not None:
                late = max(0.0, -self.gate.remaining)
                if closed := self.gate.notify(reason):
                    log.info(
                        "proxy.connections_closed",
                        serial=self.serial,
                        connections=closed,
                        late_seconds=round(late, 4),
                    )
            await asyncio.sleep(min(max(self.gate.remaining, 0.02), 0.25))

    async def _serve_client(self, client: GatedSocket) -> None:
        """Serve one connection to its end; nothing that the peer sends makes this raise."""
        try:
            await self.serve_requests(client)
        except (RequestRefusedError, ServerFailedError, AdbProtocolError) as error:
            if not isinstance(error, ServerFailedError):
                self._note_refusal(str(error))
            with contextlib.suppress(GateClosedError, OSError):
                await client.send(fail(str(error)))
            await client.finish()
        except (GateClosedError, EOFError, OSError):
            return  # the peer, the adb server or the lease is gone: there is nobody to tell
        except Exception:  # a fault in one connection must not end the run's others
            log.exception("proxy.connection_crashed", serial=self.serial)

    def _note_refusal(self, reason: str) -> None:
        self.refusals += 1
        if self.refusals <= REFUSALS_LOGGED:
            log.warning("proxy.request_refused", serial=self.serial, reason=reason)

    async def serve_requests(self, client: GatedSocket) -> None:
        """Serve the request of one connection; refuse what is not listed here."""
        request = await self.handshake(client)
        only = f"host-serial:{self.serial}:"
        match request:
            case "host:version":
                await client.send(okay(SERVER_VERSION))
            case "host:devices" | "host:devices-l":
                await client.send(okay(self.own_line(await self.ask(request))))
            case "host:features":
                await client.send(okay(await self.ask(f"{only}features")))
            case "host:host-features":
                await client.send(okay(await self.ask(request)))
            case _ if request in {f"{only}features", f"{only}get-state"}:
                await client.send(okay(await self.ask(request)))
            case _ if request == f"host:transport:{self.serial}":
                await self._serve_transport(client, request, answer_bytes=0)
            case _ if request == f"host:tport:serial:{self.serial}":
                await self._serve_transport(client, request, answer_bytes=8)
            case _:
                raise RequestRefusedError(f"this request is not allowed: {request[:200]}")

    async def handshake(self, client: GatedSocket) -> str:
        """Return the client's request; AdbProtocolError when none comes in time."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                return await read_request(client)
        except TimeoutError as error:
            raise AdbProtocolError(f"no request came within {HANDSHAKE_SECONDS:g} s") from error

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[GatedSocket]:
        """Yield a connection to the adb server."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                [(family, kind, protocol, _, address), *_] = await loop.getaddrinfo(
                    *self.upstream, family=socket.AF_INET, type=socket.SOCK_STREAM
                )
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                try:
                    await loop.sock_connect(sock, address)
                except BaseException:
                    sock.close()
                    raise
        except (OSError, TimeoutError) as error:
            raise AdbProtocolError(f"the adb server does not answer: {error}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.closing(GatedSocket(sock, self.gate)) as connection:
            yield connection

    async def ask(self, request: str) -> str:
        """Return the adb server's answer to *request*; raise ServerFailedError with its FAIL."""
        async with self.dial() as upstream:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    await upstream.send(framed(request))
                    await expect_okay(upstream)
                    length = int(await upstream.receive_exactly(4), 16)
                    return (await upstream.receive_exactly(length)).decode(errors="replace")
            except (EOFError, ValueError, TimeoutError) as error:
                raise AdbProtocolError(f"the adb server did not answer: {error}") from error

    def own_line(self, listing: str) -> str:
        """Return the line of our phone from the adb server's list of all."""
        # A tab ends the serial, and blanks in the long form, which a serial may hold itself.
        own = (
            line
            for line in listing[:LISTING_LIMIT].splitlines()
            if line.startswith((f"{self.serial}\t", f"{self.serial} "))
        )
        return "".join(f"{line}\n" for line in own)

    async def _serve_transport(
        self, client: GatedSocket, request: str, *, answer_bytes: int
    ) -> None:
        """Connect the client to the phone, then serve the one service it asks for."""
        async with self.dial() as upstream:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    await upstream.send(framed(request))
                    await expect_okay(upstream)
                    answer = await upstream.receive_exactly(answer_bytes)
            except TimeoutError as error:
                raise AdbProtocolError(
                    "the adb server did not open the transport in time"
                ) from error
            await client.send(b"OKAY" + answer)
            service = await self.handshake(client)
            if service == "sync:":
                self._check_gate("sync:")
                await upstream.send(framed(service))
                try:
                    await first_to_end(
                        relay_sync(client, upstream, self.scope), relay(upstream, client)
                    )
                except RequestRefusedError as error:
                    self._note_refusal(str(error))
                    await client.send(sync_fail(str(error)))
                    await client.finish()
            elif service == UI_SERVICE:
                await self._serve_ui_server(client, upstream)
            else:
                await upstream.send(framed(self._command(service)))
                await first_to_end(_discard(client), relay(upstream, client))

    async def _serve_ui_server(self, client: GatedSocket, upstream: GatedSocket) -> None:
        self._check_gate(UI_SERVICE)
        port = self.ui_port()
        if not port:
            raise RequestRefusedError("the UI server is not running")
        await upstream.send(framed(f"tcp:{port}"))
        await expect_okay(upstream)
        await client.send(b"OKAY")
        try:
            await serve_ui_calls(client, upstream, self.scope.package)
        except (RequestRefusedError, AdbProtocolError) as error:
            self._note_refusal(str(error))
            await client.finish()

    def _command(self, service: str) -> str:
        """Return the service to request from the phone in place of *service*."""
        kind, colon, text = service.partition(":")
        match kind.split(","):
            case ["shell" | "exec"] if colon:
                prefix = kind
            case ["shell", "v2", *options] if colon and set(options) <= {"raw"}:
                prefix = "shell,v2,raw"
            case _:
                raise RequestRefusedError(f"this service is not allowed: {service[:200]}")
        command = check_command(text, self.scope)
        if command.effect is Effect.ACTS:
            self._check_gate(command.text)
        return f"{prefix}:{command.text}"

    def _check_gate(self, what: str) -> None:
        if not self.gate.going:
            raise RequestRefusedError(
                f"only reads are allowed before the start gate opens: {what[:200]}"
            )


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o666)  # the run container's user is not ours; the directory decides who sees it
        listener.listen(CONNECTIONS)
    except BaseException:
        listener.close()
        raise
    return listener


async def expect_okay(upstream: GatedSocket) -> None:
    """Read the adb server's OKAY; raise ServerFailedError with its text on FAIL."""
    status = await upstream.receive_exactly(4)
    if status == b"FAIL":
        try:
            length = int(await upstream.receive_exactly(4), 16)
        except ValueError as error:
            raise AdbProtocolError("the adb server's FAIL cannot be read") from error
        raise ServerFailedError((await upstream.receive_exactly(length)).decode(errors="replace"))
    if status != b"OKAY":
        raise AdbProtocolError(f"the adb server answered {status!r}")


async def relay(source: GatedSocket, target: GatedSocket) -> None:
    """Pass bytes on until the source ends."""
    while chunk := await source.receive():
        await target.send(chunk)


async def _discard(client: GatedSocket) -> None:
    """Discard what the client sends until it leaves: no allowed command reads stdin."""
    while await client.receive():
        pass


async def first_to_end(*ways: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then cancel the others; raise the first error."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
