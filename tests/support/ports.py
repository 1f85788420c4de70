"""Ports for programs that a test starts, ends and starts again at the same address."""

import socket
from collections.abc import Iterator
from pathlib import Path

_FIRST = 10_000
_BLOCK = 200
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_held: list[socket.socket] = []  # one name a block, until this process ends


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens at and that no other process is given.

    Linux gives it to no outgoing connection: it lies below the ephemeral ports. So a program may
    end and come back to it. This process is given it again after 199 others.
    """
    for _ in range(_BLOCK):
        port = next(_ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"this process has used up its {_BLOCK} ports")


def _cycle() -> Iterator[int]:
    block = _claimed()
    while True:
        yield from block


def _claimed() -> range:
    """Claim a block of ports by an abstract socket's name, which ends with this process."""
    ephemeral = int(_EPHEMERAL.read_text().split()[0])
    for first in range(_FIRST, ephemeral - _BLOCK + 1, _BLOCK):
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0phonefarm-tests-ports-{first}")
        except OSError:
            name.close()
            continue
        _held.append(name)
        return range(first, first + _BLOCK)
    raise OSError(f"other tests hold all ports from {_FIRST} to {ephemeral}")


_ports = _cycle()
