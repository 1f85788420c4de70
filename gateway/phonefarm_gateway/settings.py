"""The gateway's settings: read once, from arguments and the environment."""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phonefarm_common import config
from phonefarm_common.address_policy import Network, network
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.config import ConfigError
from phonefarm_common.endpoints import parse_controllers
from phonefarm_common.timers import Timers

from phonefarm_gateway.console.origins import public_origin
from phonefarm_gateway.options import build_parser


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one gateway; its repr shows no secret."""

    host: str
    port: int
    controllers: tuple[str, ...]
    """HOST:PORT of each controller; if empty, the certificate names them."""
    gateway_token: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)
    ready_file: Path | None
    allowed_networks: tuple[Network, ...]
    """Networks that callbacks may go to besides the public internet."""
    asset_networks: tuple[Network, ...]
    """Networks that assets may be fetched from besides the public internet."""
    body_limit: int
    timers: Timers
    asset_seconds: float = 5.0
    rate_limit: float = 500.0
    """The most requests a second for each key; 0 for no limit."""
    rate_burst: int = 1000
    connections: int = 1000
    open_metrics: bool = False
    state: Path | None = None
    joined: bool = False
    """True if `state` contains a certificate to use instead of the token."""
    tls: tuple[Path, Path] | None = None
    """The certificate and key of the gateway's own address, as PEM."""
    console_origins: tuple[str, ...] = ()
    """The origins of proxies that end TLS for this gateway."""
    console_secret: str | None = field(default=None, repr=False)
    callback_ca: Path | None = None
    """A PEM file of further authorities for the certificates of receivers."""


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; ConfigError names what is missing or wrong, and the remedy."""
    return read_settings(build_parser(environment).parse_args(arguments), environment)


def read_settings(
    given: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings that these options give; ConfigError as `parse`."""
    host, port = config.address(given.listen, name="--listen")
    token = config.secret("PHONEFARM_GATEWAY_TOKEN", environment) or ""
    member = None if token or given.state is None else _member(given.state)
    if not token and member is None:
        raise ConfigError(
            "PHONEFARM_GATEWAY_TOKEN is not set: set it to the controller's value; "
            "for a controller on another host, run `phonefarm-gateway join TOKEN --state "
            "DIR` and give --state DIR"
        )
    named = given.controller or [environment.get("PHONEFARM_GATEWAY_CONTROLLER", "")]
    told = member is not None and not any(named)
    for name in ("body_limit", "rate_burst", "connections"):
        if getattr(given, name) < 1:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} must be at least 1, not {getattr(given, name)}")
    if not 0 <= given.rate_limit < math.inf:
        raise ConfigError(f"--rate-limit must be 0 or more, not {given.rate_limit}")
    if bool(given.tls_cert) != bool(given.tls_key):
        missing = "--tls-cert" if given.tls_key else "--tls-key"
        raise ConfigError(f"{missing} is missing: give both --tls-cert and --tls-key, or neither")
    return Settings(
        host=host,
        port=port,
        controllers=() if told else parse_controllers(named, name="--controller"),
        state=given.state,
        joined=member is not None,
        gateway_token=token,
        webhook_secret=config.secret("PHONE_FARM_WEBHOOK_SECRET", environment),
        ready_file=given.ready_file,
        allowed_networks=_networks("--allow-callback-cidr", given.allow_callback_cidr),
        asset_networks=_networks("--allow-asset-cidr", given.allow_asset_cidr),
        body_limit=given.body_limit,
        tls=(Path(given.tls_cert), Path(given.tls_key)) if given.tls_cert else None,
        callback_ca=given.callback_ca,
        timers=config.timers(environment),
        rate_limit=given.rate_limit,
        rate_burst=given.rate_burst,
        connections=given.connections,
        open_metrics=given.open_metrics,
        console_origins=_origins(given.console_origin),
        # The token is there in every gateway that has not joined.
        console_secret=config.secret("PHONEFARM_CONSOLE_SECRET", environment) or token or None,
    )


def _member(state: Path) -> Member | None:
    try:
        return read_member(state)
    except (MemberBrokenError, OSError) as error:
        raise ConfigError(f"--state: {error}") from error


def _origins(texts: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(public_origin(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"--console-origin: {error}") from error


def _networks(option: str, texts: Sequence[str]) -> tuple[Network, ...]:
    try:
        return tuple(network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
