"""A client of the controller: a client per service on one channel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from phonefarm_common.channel import Secured, open_channel
from phonefarm_common.config import address
from phonefarm_common.timers import Timers

from phonefarm_cli.clients.access import AccessClient
from phonefarm_cli.clients.fleet import FleetClient
from phonefarm_cli.clients.hands import HandsClient
from phonefarm_cli.clients.inspection import InspectClient
from phonefarm_cli.clients.processes import ProcessClient
from phonefarm_cli.clients.proving import ProvingClient
from phonefarm_cli.clients.wire import Wire
from phonefarm_cli.failure import CommandError, ExitCode


class Controller:
    """Everything one controller can be asked with one key."""

    def __init__(self, wire: Wire) -> None:
        self.access = AccessClient(wire)
        self.fleet = FleetClient(wire)
        self.hands = HandsClient(wire)
        self.processes = ProcessClient(wire)
        self.inspection = InspectClient(wire)
        self.proving = ProvingClient(wire)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, target: str, key: str, ca: Path | None = None
    ) -> "AsyncIterator[Controller]":
        """Yield a client of the controller at HOST:PORT; nothing is dialled yet.

        With *ca*, the farm's authority as PEM, the call is made with TLS.
        """
        address(target, name="--grpc")
        if not key or not all("!" <= char <= "~" for char in key):
            raise CommandError(
                "--key: no key has spaces, line ends or letters beyond ASCII", ExitCode.MISUSED
            )
        try:
            secured = _trusting(ca) if ca else None
            channel = open_channel(target, Timers(), secured)
        except ValueError as error:
            raise CommandError(f"--grpc: {error}; or give --ca", ExitCode.MISUSED) from error
        except OSError as error:
            raise CommandError(f"--ca: {error}", ExitCode.MISUSED) from error
        async with channel:
            yield cls(Wire(channel, target, key))


def _trusting(ca: Path) -> Secured:
    return Secured(authority=ca.read_bytes())
