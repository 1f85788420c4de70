"""Settings of the gateway: read once, from arguments and the environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_common import config
from phonefarm_common.addresses import Network, network
from phonefarm_common.config import ConfigError
from phonefarm_common.timers import Timers

_ENVIRONMENT = """\
environment (each NAME may also be NAME_FILE, a file that holds the value):
  PHONEFARM_GATEWAY_TOKEN     the token this gateway shows the controller (required)
  PHONE_FARM_WEBHOOK_SECRET   signs callbacks; without it they are sent unsigned
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a gateway needs to know; secrets are kept out of its repr."""

    host: str
    port: int
    controller: str
    gateway_token: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)
    ready_file: Path | None
    allowed_networks: tuple[Network, ...]
    body_limit: int
    timers: Timers


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; ConfigError names what is missing or wrong, and the remedy."""
    parser = argparse.ArgumentParser(
        prog="phonefarm-gateway",
        description="Translates REST to gRPC and sends the callbacks.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:8080",
        help="where callers connect; port 0 takes any (default: %(default)s)",
    )
    parser.add_argument(
        "--controller", metavar="HOST:PORT", required=True, help="where the controller listens"
    )
    parser.add_argument(
        "--allow-callback-cidr",
        metavar="CIDR",
        action="append",
        default=[],
        help="let callbacks go to this network too, e.g. 10.20.0.0/16; repeatable",
    )
    parser.add_argument(
        "--body-limit",
        metavar="BYTES",
        type=int,
        default=1024 * 1024,
        help="the largest request body (default: %(default)s)",
    )
    parser.add_argument(
        "--ready-file",
        metavar="PATH",
        type=Path,
        help='written once requests are answered: {"rest": "HOST:PORT", "pid": N}',
    )
    given = parser.parse_args(arguments)
    host, port = config.address(given.listen, name="--listen")
    config.address(given.controller, name="--controller")
    token = config.secret("PHONEFARM_GATEWAY_TOKEN", environment)
    if token is None:
        raise ConfigError(
            "PHONEFARM_GATEWAY_TOKEN is not set: give the token the controller was started with"
        )
    if given.body_limit < 1:
        raise ConfigError(f"--body-limit must be at least 1, not {given.body_limit}")
    return Settings(
        host=host,
        port=port,
        controller=given.controller,
        gateway_token=token,
        webhook_secret=config.secret("PHONE_FARM_WEBHOOK_SECRET", environment),
        ready_file=given.ready_file,
        allowed_networks=tuple(_network(text) for text in given.allow_callback_cidr),
        body_limit=given.body_limit,
        timers=config.timers(environment),
    )


def _network(text: str) -> Network:
    try:
        return network(text)
    except ValueError as error:
        raise ConfigError(f"--allow-callback-cidr: {error}") from error
