"""Starting and stopping a program: stop signals, ready files, notes to systemd."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from phonefarm_common.config import shown_address


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM or SIGINT sets, until the block ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def notify_systemd(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send *text* to the systemd that started us (sd_notify(3)), if one did."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way, suppress(OSError):
        way.setblocking(False)
        # A leading @ stands for the abstract namespace.
        way.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def complain(program: str, text: str) -> None:
    """Print why the program ends, and show it in `systemctl status` if systemd started it."""
    sys.stderr.write(f"{program}: {text}\n")
    notify_systemd("STATUS=" + " ".join(text.split())[:400])


def write_private_json(path: Path | None, facts: Mapping[str, Any]) -> None:
    """Write *facts* as JSON to *path* atomically, private to this user; None: do nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(facts), file)
    scratch.replace(path)


def check_address_free(host: str, port: int) -> None:
    """Raise OSError that names HOST:PORT and the reason unless a server could listen there."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(f"cannot listen on {shown_address(host, port)}: {why}") from error


def listener_of_every_address(port: int) -> socket.socket:
    """Listen on *port* of every IPv6 and IPv4 address, as gRPC does for `[::]`; OSError.

    asyncio's own server for `::` takes no IPv4.
    """
    both = socket.has_dualstack_ipv6()
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=both)
