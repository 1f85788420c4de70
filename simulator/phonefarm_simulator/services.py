"""The services of a phone: shells, sync, files, ports, pictures and adbd itself; no others."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from phonefarm_simulator.adb_stream import Stream, StreamClosedError
from phonefarm_simulator.capture import captured
from phonefarm_simulator.commands.call import Input, Write
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screenshot import rgba_of
from phonefarm_simulator.shell import Exit, Shell
from phonefarm_simulator.shell_protocol import PlainInput, ShellPackets
from phonefarm_simulator.sync_service import serve_sync

FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2")
PROMPT = b"sim_phone:/ $ "
FIRST_WITH_COLOUR_SPACE = 28
LAST_PORT = 65536
LONGEST_LINE_BYTES = 128 * 1024


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service request; `pty` when the peer wants a terminal."""

    kind: str
    command: str = ""
    pty: bool = False


def read_service(name: str) -> Service | None:
    """Parse a service name; None for a service that the phone does not have."""
    head, colon, command = name.partition(":")
    if not colon:
        return None
    kind, *options = head.split(",")
    match kind:
        case "sync" if not command and not options:
            return Service(kind="sync")
        case "reboot":
            return Service(kind="reboot", command=command)
        case "tcp" if command.isdecimal():
            return Service(kind="socket", command=f"tcp:{int(command[:9])}")
        case "localabstract" if command and not options:
            return Service(kind="socket", command=name)
        case "dev" | "framebuffer" | "reverse" | "root" | "tcpip" | "usb" if not options:
            return Service(kind=kind, command=command)
        case "exec":
            return Service(kind="exec", command=command)
        case "shell":
            pty = "pty" in options or (not command and "raw" not in options)
            return Service(kind="shell2" if "v2" in options else "shell", command=command, pty=pty)
        case _:
            return None


def is_refused(phone: Phone, service: Service) -> bool:
    """Tell whether the phone answers an OPEN of the service with CLSE at once."""
    if service.kind == "shell2":
        return Fault.NO_SHELL_V2 in phone.faults
    return service.kind == "socket" and service.command not in phone.sockets


async def serve(phone: Phone, service: Service, stream: Stream) -> bool:
    """Serve a stream to its end; tell whether the connection is to be cut now, by a fault."""
    if service.kind == "socket":
        await phone.sockets[service.command](stream)
        return False
    await phone.faults.ended(Fault.SHELL_HANGS)
    if service.kind == "reboot":
        phone.ask_reboot()
        return False
    if Fault.RECOVERY in phone.faults:
        # A recovery has no shell of Android's; adb sees the service closed at once.
        return False
    if service.kind == "sync":
        await serve_sync(phone, stream)
        return False
    if service.kind in _PLAIN:
        await _PLAIN[service.kind](phone, service.command, stream)
        return False
    if phone.hits_drop_fault(service.command):
        await run_silently(phone, service)
        return True
    if service.kind == "shell2":
        packets = ShellPackets(stream)
        status = await _run(
            phone, service, stdin=packets, out=packets.write_out, error=packets.write_error
        )
        await packets.exit(status)
    else:
        stdin = PlainInput(stream)
        await _run(phone, service, stdin=stdin, out=stream.write, error=stream.write)
    return False


async def _file(phone: Phone, path: str, stream: Stream) -> None:
    """Send what a file holds; nothing when it cannot be opened, as adbd then only hangs up."""
    with contextlib.suppress(OSError):
        await stream.write(phone.files.read(path))


async def _framebuffer(phone: Phone, _command: str, stream: Stream) -> None:
    """Send the screen as it is in memory (AOSP adb, framebuffer_service.cpp: version 2, sRGB)."""
    width, height, pixels = await asyncio.to_thread(rgba_of, captured(phone))
    colours = (0, 8, 16, 8, 8, 8, 24, 8)  # offset and length of red, blue, green and alpha
    version = (2, 32, 1) if phone.sdk >= FIRST_WITH_COLOUR_SPACE else (1, 32)
    numbers = (*version, len(pixels), width, height, *colours)
    await stream.write(struct.pack(f"<{len(numbers)}I", *numbers) + pixels)


async def _root(_phone: Phone, _command: str, stream: Stream) -> None:
    await stream.write(b"adbd cannot run as root in production builds\n")


async def _tcpip(_phone: Phone, port: str, stream: Stream) -> None:
    """Say what adbd says; this phone goes on where it listens."""
    if not port.isdecimal() or not 0 < int(port[:9]) < LAST_PORT:
        await stream.write(b"invalid port\n")
    else:
        await stream.write(f"restarting in TCP mode port: {port}\n".encode())


async def _usb(_phone: Phone, _command: str, stream: Stream) -> None:
    await stream.write(b"restarting in USB mode\n")


_PLAIN: Mapping[str, Callable[[Phone, str, Stream], Awaitable[None]]] = {
    "dev": _file,
    "framebuffer": _framebuffer,
    "root": _root,
    "tcpip": _tcpip,
    "usb": _usb,
}


async def run_silently(phone: Phone, service: Service) -> None:
    """Run a command without input or output, for its effect."""

    async def discard(data: bytes) -> None:
        """Take the bytes and forget them."""

    await _run(phone, service, stdin=_Nothing(), out=discard, error=discard)


class _Nothing:
    async def read(self) -> bytes:
        return b""


async def _run(phone: Phone, service: Service, *, stdin: Input, out: Write, error: Write) -> int:
    shell = Shell(
        phone=phone,
        stdin=stdin,
        out=_for_terminal(out) if service.pty else out,
        error=_for_terminal(error) if service.pty else error,
    )
    try:
        if service.command:
            return await shell.run(service.command)
        return await _run_interactively(shell, service, stdin, out)
    except Exit as leaving:
        return leaving.status
    finally:
        await shell.jobs.end()


def _for_terminal(write: Write) -> Write:
    """Return `write` with line ends as a terminal in raw mode needs them."""

    async def write_lines(data: bytes) -> None:
        await write(data.replace(b"\n", b"\r\n"))

    return write_lines


async def _run_interactively(shell: Shell, service: Service, stdin: Input, out: Write) -> int:
    """Read lines and run them, with a prompt and an echo where the peer has a terminal."""
    line = bytearray()
    if service.pty:
        await out(PROMPT)
    while data := await stdin.read():
        for byte in data:
            letter = bytes([byte])
            if letter in b"\r\n":
                if service.pty:
                    await out(b"\r\n")
                await shell.run(line.decode(errors="replace"))
                line.clear()
                if service.pty:
                    await out(PROMPT)
            elif letter == b"\x04" and service.pty:
                return shell.status
            elif letter == b"\x7f" and service.pty:
                if line:
                    line.pop()
                    await out(b"\b \b")
            elif len(line) < LONGEST_LINE_BYTES:
                line += letter
                if service.pty:
                    await out(letter)
    if line:
        await shell.run(line.decode(errors="replace"))
    return shell.status


async def serve_until_closed(phone: Phone, service: Service, stream: Stream) -> bool:
    """Serve a stream, and stop the command when the peer closes it.

    StreamClosedError when the peer closed first; else as `serve`.
    """
    serving = asyncio.ensure_future(serve(phone, service, stream))
    closing = asyncio.ensure_future(stream.closed())
    try:
        await asyncio.wait({serving, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            raise StreamClosedError
        return serving.result()
    finally:
        closing.cancel()
        serving.cancel()
        await asyncio.gather(serving, closing, return_exceptions=True)
