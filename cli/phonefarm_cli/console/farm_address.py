"""Finds the farm that a command means: by options, variables, a context or an up.json."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phonefarm_cli.contexts import CONTEXT_VARIABLE, read_contexts
from phonefarm_cli.up_file import read_up_file

EPILOG: Final = """\
which farm (the command uses the first of these that you give):
  --grpc HOST:PORT, --key KEY    address and key; separate several controllers by commas
  --context NAME                 a farm that `phonefarm contexts list` shows
  --data DIR                     folder of a farm on this host, which contains its up.json
  PHONEFARM_GRPC, PHONEFARM_KEY, PHONEFARM_CA   address and key from the environment
  PHONEFARM_CONTEXT              name of a context from the environment
  the current context            see `phonefarm contexts use NAME`
  .farm                          folder of a farm on this host
--ca FILE is the farm's ca.pem, for a --tls-listen address on another host.
"""
DEFAULT_DATA: Final = Path(".farm")


@dataclass(frozen=True, kw_only=True)
class FarmAddress:
    """Where a farm is; what is unknown is empty."""

    grpc: str
    key: str = field(repr=False)
    ca: Path | None = None
    rest: str = ""
    webhook_secret: str = field(default="", repr=False)


def add_farm_options(parser: argparse.ArgumentParser) -> None:
    """Add --data, --context, --grpc, --ca and --key."""
    farm = parser.add_argument_group("which farm")
    farm.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of a farm on this host (.farm)"
    )
    farm.add_argument(
        "--context", metavar="NAME", help="name of a context; see `phonefarm contexts list`"
    )
    farm.add_argument(
        "--grpc", metavar="HOST:PORT", help="address of a controller; separate several by commas"
    )
    farm.add_argument(
        "--ca", type=Path, metavar="FILE", help="the farm's ca.pem; calls then use TLS"
    )
    farm.add_argument("--key", metavar="KEY", help="the API key")


def data_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the farm that runs here."""
    return options.data or DEFAULT_DATA


def farm_address(
    options: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> FarmAddress:
    """Return the farm that is meant; CommandError when nothing names one."""
    grpc, key, ca = options.grpc, options.key, options.ca
    if not options.context and options.data is None:
        grpc = grpc or environment.get("PHONEFARM_GRPC")
        key = key or environment.get("PHONEFARM_KEY")
        ca = ca or (Path(environment["PHONEFARM_CA"]) if environment.get("PHONEFARM_CA") else None)
    if grpc and key:
        return FarmAddress(grpc=grpc, key=key, ca=ca)
    named = _named(options, environment)
    return FarmAddress(
        grpc=grpc or named.grpc,
        key=key or named.key,
        ca=ca or named.ca,
        rest=named.rest,
        webhook_secret=named.webhook_secret,
    )


def _named(options: argparse.Namespace, environment: Mapping[str, str]) -> FarmAddress:
    """Return the farm of a context or of an up.json."""
    contexts = read_contexts()
    name = options.context
    if not name and options.data is None:
        name = environment.get(CONTEXT_VARIABLE) or contexts.current
    if name:
        context = contexts[name]
        ca = Path(context.ca) if context.ca else None
        return FarmAddress(grpc=context.grpc, key=context.key, ca=ca, rest=context.rest)
    report = read_up_file(data_folder(options))
    return FarmAddress(
        grpc=report.grpc,
        key=report.api_key,
        rest=f"http://{report.rest}" if report.rest else "",
        webhook_secret=report.webhook_secret,
    )
