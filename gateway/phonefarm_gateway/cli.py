"""`phonefarm-gateway`: run the gateway until it is told to stop."""

import asyncio
import resource
import sys
from contextlib import suppress
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.lifecycle import stop_signals
from phonefarm_common.logs import configure_logs

from phonefarm_gateway.app import running
from phonefarm_gateway.settings import Settings, parse

FILES_BESIDE: Final = 1024
"""Descriptors for callbacks, looks at assets, the controller and logs."""


def main() -> int:
    """Return 0 after a clean stop, 2 for settings that cannot work."""
    try:
        settings = parse(sys.argv[1:])
        configure_logs(program="gateway")
        _allow_files(settings.connections + FILES_BESIDE)
        asyncio.run(_run(settings))
    except (ConfigError, OSError, ValueError) as error:
        print(f"phonefarm-gateway: {error}", file=sys.stderr)
        return 2
    return 0


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files (getrlimit(2)) as far as the hard one lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _run(settings: Settings) -> None:
    async with stop_signals() as stop, running(settings):
        await stop.wait()
