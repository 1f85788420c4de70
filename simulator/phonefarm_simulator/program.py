"""The program `phonefarm-simulator`: plays phones until a signal stops it."""

import argparse
import asyncio
import sys

import structlog
from phonefarm_common.lifecycle import stop_signals, write_private_json
from phonefarm_common.logs import configure_logs

from phonefarm_simulator.control_server import control_served
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.personality import DEFAULT

log = structlog.get_logger()


def run(options: argparse.Namespace, *, host: str, port: int) -> int:
    """Run until SIGTERM or SIGINT, with the control API at *host*:*port*; 1 for a taken port."""
    configure_logs(program="simulator", level=options.log_level)
    try:
        asyncio.run(_run(options, host, port))
    except OSError as error:
        print(f"phonefarm-simulator: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, host: str, port: int) -> None:
    async with (
        stop_signals() as stop,
        simulated_phones(
            options.phones,
            options.data,
            first=options.first,
            listen_base=options.listen_base,
            personalities=options.personality or (DEFAULT,),
        ) as farm,
        control_served(farm, host=host, port=port) as control,
    ):
        phones = [{"serial": phone.serial, "address": phone.address} for phone in farm]
        write_private_json(options.ready_file, {"control": control, "phones": phones})
        log.info("simulator.started", control=control, phones=len(phones))
        await stop.wait()
        log.info("simulator.stopped")
