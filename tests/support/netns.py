"""A network namespace with one cable to this one, which can be pulled."""

import asyncio
import ipaddress
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path


def missing() -> str | None:
    """Return why no namespace can be made here; None when one can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    try:
        with namespace():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace can be made: {error}"


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """Made by `namespace`; `here` is this side's address on the cable."""

    name: str
    here: str
    cable: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return what runs a command inside."""
        return ("ip", "netns", "exec", self.name)

    def pull(self) -> None:
        """Pull the cable: what is sent is lost, nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.cable, "up")

    @asynccontextmanager
    async def relays(self, *pairs: str) -> AsyncIterator[None]:
        """Serve FROM=TO pairs inside (see `relay`) until the block ends."""
        process = await asyncio.create_subprocess_exec(
            *self.prefix,
            sys.executable,
            "-m",
            "support.relay",
            *pairs,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(180):
                assert await process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()
            await process.wait()


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace with its cable; both are gone when the block ends."""
    name = f"pf{secrets.token_hex(4)}"
    here, there = _addresses()
    made = Namespace(name=name, here=here, cable=f"{name}-h")
    _ip("netns", "add", name)
    try:
        _ip("link", "add", made.cable, "type", "veth", "peer", "name", "uplink", "netns", name)
        _ip("address", "add", f"{here}/30", "dev", made.cable)
        _ip("link", "set", made.cable, "up")
        _ip("-n", name, "address", "add", f"{there}/30", "dev", "uplink")
        _ip("-n", name, "link", "set", "uplink", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        _ip("netns", "del", name)  # and with it both ends of the cable


def _addresses() -> tuple[str, str]:
    """Return both ends of a cable's own network: tests run beside each other.

    Drawn from those set aside to measure networks (RFC 2544): nobody's, and enough for all.
    """
    pool = ipaddress.ip_network("198.18.0.0/15")
    here = pool[secrets.randbelow(pool.num_addresses // 4) * 4 + 1]
    return str(here), str(here + 1)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
