"""`phonefarm-gateway`: run the gateway until it is told to stop."""

import asyncio
import sys

from phonefarm_common.config import ConfigError
from phonefarm_common.lifecycle import stop_signals
from phonefarm_common.logs import configure_logs

from phonefarm_gateway.app import running
from phonefarm_gateway.settings import Settings, parse


def main() -> int:
    """Return 0 after a clean stop, 2 for settings that cannot work."""
    try:
        settings = parse(sys.argv[1:])
        configure_logs(program="gateway")
        asyncio.run(_run(settings))
    except (ConfigError, OSError, ValueError) as error:
        print(f"phonefarm-gateway: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(settings: Settings) -> None:
    async with stop_signals() as stop, running(settings):
        await stop.wait()
