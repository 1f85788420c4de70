"""`phonefarm sim`: shows the state of a simulated phone, sets and clears its faults."""

import argparse
import asyncio
import json
from typing import Any

from phonefarm_cli.client.simulator import SimulatorClient
from phonefarm_cli.console.connect import Subparsers, add_phone
from phonefarm_cli.console.farm_address import EPILOG, add_farm_options, data_folder
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo
from phonefarm_cli.up_file import UpFile, read_up_file

_FAULTS = """\
faults (`phonefarm-simulator --help` explains them and their settings):
  offline unauthorized unplug recovery slow shell_hangs storage_full battery_low battery_hot
  service_gone screen_locked reboot boot_stuck duplicate_serial drop_mid_command logged_out
  consent_dialog

examples:
  phonefarm sim state ph-sim0001
  phonefarm sim fault SIM0002 slow milliseconds=500
  phonefarm sim fault SIM0002 slow --clear
  phonefarm sim fault SIM0002 --clear              every fault
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm sim` and its verbs."""
    sim = commands.add_parser(
        "sim",
        help="show the state of simulated phones, and make them fail",
        description=(
            "Show the state of a simulated phone in a farm on this host, or make the phone fail."
        ),
    )
    verbs = sim.add_subparsers(dest="verb", required=True, metavar="VERB")
    state = _verb(verbs, "state", "print the state of a phone as JSON")
    state.set_defaults(parser=state, perform=lambda options: _run(_state, options))
    fault = _verb(verbs, "fault", "make a phone fail, or clear its faults")
    fault.add_argument("fault", nargs="?", metavar="FAULT", help="one of the faults below")
    fault.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="settings for the fault, e.g. milliseconds=500",
    )
    fault.add_argument(
        "--clear", action="store_true", help="clear the fault; without FAULT, clear all faults"
    )
    fault.set_defaults(parser=fault, perform=lambda options: _run(_fault, options))


def _verb(verbs: Subparsers, name: str, about: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_FAULTS + "\n" + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_phone(parser)
    add_farm_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    return parser


def _run(work: Any, options: argparse.Namespace) -> ExitCode:
    report = read_up_file(data_folder(options))
    if not report.simulator_control:
        raise CommandError(f"the farm in {data_folder(options)} has no simulated phones")

    async def perform() -> None:
        async with SimulatorClient.opened(report.simulator_control) as simulation:
            await work(simulation, await _find_serialno(simulation, report, options.phone), options)

    asyncio.run(perform())
    return ExitCode.OK


async def _find_serialno(simulation: SimulatorClient, report: UpFile, word: str) -> str:
    listed = (await simulation.call("list"))["phones"]
    ids = {phone.serialno: phone.phone_id for phone in report.phones}
    for phone in listed:
        serialno, address = str(phone["serial"]), str(phone["address"])
        if word.lower() in {serialno.lower(), address, ids.get(serialno)}:
            return serialno
    known = ", ".join(ids.get(phone["serial"], phone["serial"]) for phone in listed)
    raise CommandError(f"there is no simulated phone {word}; known: {known}")


async def _state(simulation: SimulatorClient, serialno: str, options: argparse.Namespace) -> None:
    print(json.dumps(await simulation.state(serialno), indent=2, ensure_ascii=False))


async def _fault(simulation: SimulatorClient, serialno: str, options: argparse.Namespace) -> None:
    if options.fault is None:
        if not options.clear:
            raise CommandError(
                "name a FAULT, or give --clear to clear all of them", ExitCode.MISUSED
            )
        await simulation.call("clear", serial=serialno)
        _print_faults(serialno, [], options)
        return
    settings = dict(_setting(word) for word in options.settings)
    answer = await simulation.call(
        "fault", serial=serialno, fault=options.fault, on=not options.clear, **settings
    )
    _print_faults(serialno, list(answer["faults"]), options)


def _print_faults(serialno: str, faults: list[str], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"serialno": serialno, "faults": faults}))
    else:
        echo(f"{serialno}: {', '.join(faults) or 'no faults'}")


def _setting(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier() or name in {"op", "serial", "fault", "on"}:
        raise CommandError(f"a setting is key=value, not {word!r}", ExitCode.MISUSED)
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text
