"""The program `phonefarm-gateway`: runs the gateway until a signal; `join` makes it a member."""

import argparse
import asyncio
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from phonefarm_common import config
from phonefarm_common.certificates import time_left
from phonefarm_common.clock import SystemClock
from phonefarm_common.config import ConfigError
from phonefarm_common.enrollment import NotJoinedError
from phonefarm_common.enrollment import join as exchange
from phonefarm_common.lifecycle import complain, stop_signals
from phonefarm_common.logs import configure_logs

from phonefarm_gateway import install
from phonefarm_gateway.app import running
from phonefarm_gateway.settings import Settings, read_settings

FILES_BESIDE: Final = 1024
"""The file descriptors that callbacks, asset checks, the controller and logs need."""


def run(given: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; return 0, or 2 for unusable settings."""
    try:
        settings = read_settings(given)
        configure_logs(program="gateway")
        _allow_files(settings.connections + FILES_BESIDE)
        asyncio.run(_run(settings))
    except (ConfigError, OSError, ValueError) as error:
        complain("phonefarm-gateway", str(error))
        return 2
    return 0


def join_parser() -> argparse.ArgumentParser:
    """Return the parser of `phonefarm-gateway join`."""
    parser = argparse.ArgumentParser(
        prog="phonefarm-gateway join",
        description="Exchange a token from `phonefarm gateways invite` for a certificate.",
    )
    parser.add_argument(
        "token",
        nargs="?",
        help=(
            "the token (env PHONEFARM_JOIN_TOKEN, or PHONEFARM_JOIN_TOKEN_FILE for a file "
            "that holds it)"
        ),
    )
    state = install.GATEWAY.installed_state()
    parser.add_argument(
        "--state",
        type=Path,
        default=state,
        required=state is None,
        metavar="DIR",
        help=("folder for the certificate (default: the state directory of the installed service)"),
    )
    parser.add_argument(
        "--name", default="", help="id of the gateway, if the invitation does not contain an id"
    )
    return parser


def join(arguments: Sequence[str]) -> int:
    """Exchange an invitation for a certificate; return 0, or 1 when it was refused."""
    given = join_parser().parse_args(arguments)
    try:
        token = given.token or config.secret("PHONEFARM_JOIN_TOKEN") or ""
        member = asyncio.run(exchange(token, given.state, role="gateway", wanted=given.name))
    except (ConfigError, NotJoinedError, OSError) as error:
        print(f"phonefarm-gateway: {error}", file=sys.stderr)
        return 1
    told = time_left(member.facts, SystemClock().now())
    print(f"joined as {member.member_id} at {member.controller}; certificate {told}")
    return 0


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files (getrlimit(2)) as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _run(settings: Settings) -> None:
    async with stop_signals() as stop, running(settings):
        await stop.wait()
