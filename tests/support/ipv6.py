"""Tests that need IPv6, which containers often lack."""

import socket
from contextlib import closing, suppress

import pytest


def _is_there() -> bool:
    with suppress(OSError), closing(socket.socket(socket.AF_INET6)) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _is_there(), reason="this machine has no IPv6 loopback")
