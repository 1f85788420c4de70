"""Connects to the phone: adbutils' framing over adb.sock. Only this file imports adbutils.

adbutils dials TCP and runs `adb start-server` whenever a connect fails. Its one place that connects
is replaced here, so it dials the run's unix socket and starts nothing; no TCP port is involved.
"""

import io
import shlex
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbutils import AdbConnection

from phonefarm_executor.deadlines import LOOK_SECONDS, Pace
from phonefarm_executor.failures import Code, FailedError, LinkLostError

OUTPUT_LIMIT = 32 * 1024 * 1024
HOST_SECONDS = 5.0
PUSH_BLOCK = 64 * 1024
_SYNC = struct.Struct("<4sI")
_PUSHED_MODE = stat.S_IFREG | 0o660
_STDOUT, _STDERR, _EXIT = 1, 2, 3
"""Packet ids of shell v2. Source: AOSP packages/modules/adb, shell_protocol.h."""


class ServiceError(Exception):
    """A service of the phone refused, ended early or sent no answer; the text says which."""


class _BrokenError(ServiceError):
    """The connection ended, or sent something that is not adb, before the answer was complete."""


class _RefusedError(ServiceError):
    """The other side answered FAIL; the text is its reason."""


class _NoAnswerError(ServiceError):
    """No answer came in time."""

    def __init__(self) -> None:
        super().__init__("no answer came in time")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command printed and how it ended."""

    stdout: bytes
    stderr: bytes
    code: int

    def text(self) -> str:
        """Return everything it printed, for a person or a search."""
        return (self.stdout + self.stderr).decode(errors="replace").strip()


class _Connection(AdbConnection):  # type: ignore[misc] # adbutils ships no types
    """A connection to the adb.sock of this run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__("", 0)

    def _safe_connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(HOST_SECONDS)
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            raise LinkLostError(f"{self._path.name}: {error}") from error
        sock.settimeout(LOOK_SECONDS)
        return sock

    def close(self) -> None:
        """Close without adbutils' pause of 10 ms: a unix socket loses nothing."""
        self.conn.close()


class Channel:
    """A connection to a service of the phone that stays open between calls.

    Sending and reading raise ServiceError, LinkLostError and what Pace.check raises.
    """

    def __init__(self, link: "Link", peer: AdbConnection) -> None:
        self._link = link
        self._peer = peer
        self.end = 0.0
        """The time at which the current call must have ended (`time.monotonic()`)."""

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._link.send(self._peer, data, self.end)

    def receive(self, most: int) -> bytes:
        """Return what came, at most so many bytes; b"" at the end."""
        return self._link.receive(self._peer, most, self.end)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a reader, as http.client asks of a socket; closing it leaves the channel open."""
        return io.BufferedReader(_Reader(self))

    def hang_up(self) -> None:
        """Close the connection."""
        self._peer.close()


class _Reader(io.RawIOBase):
    """Reads from a channel."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._channel.receive(len(view))
        view[: len(part)] = part
        return len(part)


class Link:
    """Sends commands to one phone, each on a connection of its own."""

    def __init__(self, path: Path, serial: str, pace: Pace) -> None:
        self._path = path
        self._serial = serial
        self._pace = pace

    def shell(self, words: Sequence[str], *, limit: float) -> Answer:
        """Run one command and return its answer, each word quoted.

        Raises FailedError `adb_failed` or `phone_lost`, LinkLostError when adb.sock is gone, and
        what Pace.check raises, looked at twice a second.
        """
        with self._told(words, limit) as end, self._service(words, "shell,v2,raw", end) as peer:
            streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
            while True:
                kind, *length = self._read(peer, 5, end)
                data = self._read(peer, int.from_bytes(bytes(length), "little"), end)
                if kind == _EXIT and data:
                    return Answer(
                        stdout=bytes(streams[_STDOUT]),
                        stderr=bytes(streams[_STDERR]),
                        code=data[0],
                    )
                if kind in streams:
                    streams[kind] += data
                if sum(map(len, streams.values())) > OUTPUT_LIMIT:
                    raise _BrokenError(f"it printed more than {OUTPUT_LIMIT} bytes")

    def output(self, words: Sequence[str], *, limit: float) -> bytes:
        """Run one command and return its raw output, whatever its exit; raises as `shell` does."""
        with self._told(words, limit) as end, self._service(words, "exec", end) as peer:
            output = bytearray()
            while part := self.receive(peer, 65536, end):
                output += part
                if len(output) > OUTPUT_LIMIT:
                    raise _BrokenError(f"it printed more than {OUTPUT_LIMIT} bytes")
            return bytes(output)

    def push(self, source: Path, target: str, *, limit: float) -> None:
        """Put a file on the phone; raises as `shell` does.

        Source of the framing: AOSP packages/modules/adb, SYNC.TXT: four letters and a little-endian
        length; SEND names path and mode, DATA blocks follow, DONE carries the time in seconds.
        """
        words = ("push", target)
        with (
            self._told(words, limit) as end,
            source.open("rb") as content,
            self._opened("sync:", end) as peer,
        ):
            name = f"{target},{_PUSHED_MODE}".encode()
            try:
                self.send(peer, _SYNC.pack(b"SEND", len(name)) + name, end)
                while block := content.read(PUSH_BLOCK):
                    self.send(peer, _SYNC.pack(b"DATA", len(block)) + block, end)
                self.send(peer, _SYNC.pack(b"DONE", int(time.time())), end)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it hung up: its reason may still be there to be read
            status, length = _SYNC.unpack(self._read(peer, _SYNC.size, end))
            if status == b"FAIL":
                raise _RefusedError(self._read(peer, length, end).decode(errors="replace"))
            if status != b"OKAY":
                raise _BrokenError(f"sync answered {status!r}")

    def open(self, service: str, *, limit: float) -> Channel:
        """Connect to a service of the phone; raises what Channel raises."""
        self._pace.check()
        end = time.monotonic() + limit
        peer = _Connection(self._path)
        try:
            for request in (f"host:transport:{self._serial}", service):
                peer.send_command(request)
                self._read_status(peer, end)
        except BaseException:
            peer.close()
            raise
        return Channel(self, peer)

    def check_phone(self, what: str) -> None:
        """Return when agent and phone are there; else raise LinkLostError or `phone_lost`."""
        if not self.answers():
            raise LinkLostError(f"adb.sock does not answer after {what}")
        state = self.state()
        if state != "device":
            raise FailedError(Code.PHONE_LOST, f"{what}; adb reports: {state}")

    def answers(self) -> bool:
        """Tell whether somebody serves adb.sock."""
        try:
            self._ask("host:version")
        except (LinkLostError, ServiceError):
            return False
        return True

    def state(self) -> str:
        """Return what adb says of the phone: `device`, `offline`, or the reason it gives."""
        try:
            return self._ask(f"host-serial:{self._serial}:get-state")
        except _RefusedError as error:
            return str(error)
        except (_BrokenError, _NoAnswerError) as error:
            raise LinkLostError(str(error)) from error

    @contextmanager
    def _told(self, words: Sequence[str], limit: float) -> Iterator[float]:
        """Yield when the command must have ended; tell what broke it in the farm's words."""
        try:
            yield time.monotonic() + limit
        except _NoAnswerError as error:
            self._pace.check()
            raise self._judge(words, f"did not answer within {limit:g} s") from error
        except (_BrokenError, _RefusedError, OSError) as error:
            raise self._judge(words, str(error)) from error

    def _judge(self, words: Sequence[str], what: str) -> Exception:
        """Return whose fault a broken command is: the agent's, the phone's or adb's."""
        said = f"`{shlex.join(words)[:200]}`: {what}"
        try:
            self.check_phone(said)
        except (LinkLostError, FailedError) as error:
            return error
        return FailedError(Code.ADB_FAILED, said)

    @contextmanager
    def _service(self, words: Sequence[str], kind: str, end: float) -> Iterator[AdbConnection]:
        """Yield a connection on which the phone took the command."""
        with self._opened(f"{kind}:{shlex.join(words)}", end) as peer:
            yield peer

    @contextmanager
    def _opened(self, service: str, end: float) -> Iterator[AdbConnection]:
        self._pace.check()
        with _Connection(self._path) as peer:
            for request in (f"host:transport:{self._serial}", service):
                peer.send_command(request)
                self._read_status(peer, end)
            yield peer

    def send(self, peer: AdbConnection, data: bytes, end: float) -> None:
        """Send all of it, looking at the wish to stop while the phone takes its time."""
        rest = memoryview(data)
        while rest:
            self._pace.check()
            try:
                rest = rest[peer.conn.send(rest) :]
            except TimeoutError as error:
                if time.monotonic() >= end:
                    raise _NoAnswerError from error

    def _ask(self, request: str) -> str:
        end = time.monotonic() + HOST_SECONDS
        with _Connection(self._path) as peer:
            try:
                peer.send_command(request)
                self._read_status(peer, end, heedless=True)
                return self._read_text(peer, end)
            except OSError as error:
                raise _BrokenError(str(error)) from error

    def _read_status(self, peer: AdbConnection, end: float, *, heedless: bool = False) -> None:
        status = self._read(peer, 4, end, heedless=heedless)
        if status == b"FAIL":
            raise _RefusedError(self._read_text(peer, end))
        if status != b"OKAY":
            raise _BrokenError(f"adb answered {status!r}")

    def _read_text(self, peer: AdbConnection, end: float) -> str:
        try:
            length = int(self._read(peer, 4, end, heedless=True), 16)
        except ValueError as error:
            raise _BrokenError("adb's answer has no length") from error
        return self._read(peer, length, end, heedless=True).decode(errors="replace")

    def _read(
        self, peer: AdbConnection, count: int, end: float, *, heedless: bool = False
    ) -> bytes:
        if count > OUTPUT_LIMIT:
            raise _BrokenError(f"adb announced {count} bytes")
        data = bytearray()
        while len(data) < count:
            part = self.receive(peer, min(65536, count - len(data)), end, heedless=heedless)
            if not part:
                raise _BrokenError("the connection ended before the answer was complete")
            data += part
        return bytes(data)

    def receive(
        self, peer: AdbConnection, most: int, end: float, *, heedless: bool = False
    ) -> bytes:
        """Return bytes, b"" at the end; unless *heedless*, look at the wish to stop meanwhile."""
        while True:
            try:
                return bytes(peer.conn.recv(most))
            except TimeoutError as error:
                if not heedless:
                    self._pace.check()
                if time.monotonic() >= end:
                    raise _NoAnswerError from error
