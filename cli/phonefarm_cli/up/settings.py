"""The settings of `phonefarm up`."""

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_common import config

from phonefarm_cli.errors import CommandError, ExitCode

MOST_SIMULATED = 1000
MOST_CONTROLLERS = 9


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one farm, read once."""

    data: Path
    simulate: int
    personalities: tuple[str, ...]  # of simulated phones, in turn; none: the simulator's default
    rest: str  # HOST:PORT, port 0 for any
    grpc: str
    database: str | None = field(repr=False)
    controllers: int
    runtime: str  # auto, docker, process or dummy
    connect: tuple[str, ...]
    environment: Mapping[str, str]

    def check(self) -> None:
        """Raise CommandError or ConfigError that names a setting that cannot work."""
        for address in self.connect:
            config.address(address, name="--connect")
        if not 0 <= self.simulate <= MOST_SIMULATED:
            raise CommandError(
                f"--simulate must be 0 to {MOST_SIMULATED}, not {self.simulate}", ExitCode.MISUSED
            )
        if self.personalities and not self.simulate:
            raise CommandError("--personality requires --simulate N", ExitCode.MISUSED)
        if not 1 <= self.controllers <= MOST_CONTROLLERS:
            raise CommandError(
                f"--controllers must be 1 to {MOST_CONTROLLERS}, not {self.controllers}",
                ExitCode.MISUSED,
            )
        if self.controllers > 1 and not (self.database or "").startswith("postgresql"):
            raise CommandError(
                f"--controllers {self.controllers} requires --database postgresql://...: an "
                "SQLite file works with only one controller",
                ExitCode.MISUSED,
            )
        config.time_scale(self.environment)
        check_port_free(self.rest, name="--rest")
        check_port_free(self.grpc, name="--grpc")


def check_port_free(text: str, *, name: str) -> None:
    """Raise CommandError that names the option when HOST:PORT cannot be listened at."""
    host, port = config.address(text, name=name)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers do it: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            why = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {error.strerror}"
            )
            raise CommandError(
                f"{name} {text} {why}: give another {name} HOST:PORT (port 0 takes any free port)",
                ExitCode.MISUSED,
            ) from error
