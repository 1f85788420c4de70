"""A client of the controllers: a client per service on one channel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from phonefarm_common.channel import Secured, check_plaintext, open_channel
from phonefarm_common.clock import SystemClock
from phonefarm_common.endpoints import Choice, controllers_of
from phonefarm_common.failover import FailoverChannel
from phonefarm_common.timers import Timers

from phonefarm_cli.client.access import AccessClient
from phonefarm_cli.client.doctor import DoctorClient
from phonefarm_cli.client.fleet import FleetClient
from phonefarm_cli.client.inspection import InspectClient
from phonefarm_cli.client.operator import HandsClient
from phonefarm_cli.client.processes import ProcessClient
from phonefarm_cli.client.verification import ProvingClient
from phonefarm_cli.client.wire import Wire
from phonefarm_cli.errors import CommandError, ExitCode

_READS: Final = ("Get", "List", "Find", "Explain", "Watch", "Read")


class Controller:
    """Everything the controllers of a farm can be asked with one key."""

    def __init__(self, wire: Wire) -> None:
        self.access = AccessClient(wire)
        self.doctor = DoctorClient(wire)
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
        """Yield a client of the controller at HOST:PORT, or of several with commas.

        Nothing is dialled yet. With *ca*, the farm's authority as PEM, calls are made with TLS.
        """
        targets = controllers_of([target], name="--grpc")
        if not key or not all("!" <= char <= "~" for char in key):
            raise CommandError(
                "--key: no key has spaces, line ends or letters beyond ASCII", ExitCode.MISUSED
            )
        try:
            secured = _trusting(ca) if ca else None
            for one in targets:
                check_plaintext(one, secured)
        except ValueError as error:
            raise CommandError(f"--grpc: {error}; or give --ca", ExitCode.MISUSED) from error
        except OSError as error:
            raise CommandError(f"--ca: {error}", ExitCode.MISUSED) from error
        channel = FailoverChannel(
            Choice(targets, monotonic=SystemClock().monotonic),
            dial=partial(open_channel, timers=Timers(), secured=secured),
            repeatable=_repeatable,
        )
        try:
            yield cls(Wire(channel, target, key))
        finally:
            await channel.close()


def _repeatable(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_READS)


def _trusting(ca: Path) -> Secured:
    return Secured(authority=ca.read_bytes())
