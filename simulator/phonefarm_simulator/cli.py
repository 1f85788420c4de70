"""The `phonefarm-simulator` command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from phonefarm_simulator.faults import FAULT_DESCRIPTIONS
from phonefarm_simulator.personality import DEFAULT, names, personality

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MAX_PHONES = 1000
MAX_FIRST = 9000
"""Serials have four digits, and a simulator has up to MAX_PHONES phones."""

DESCRIPTION = """\
Run simulated Android phones. Each phone is an adb device on a TCP port of 127.0.0.1 and has a
short-video app. Any adb can drive it:

  phonefarm-simulator --phones 3 --data /tmp/sim --ready-file /tmp/sim/ready.json
  adb connect 127.0.0.1:PORT                       # PORT from the ready-file
  adb -s 127.0.0.1:PORT shell input tap 360 580    # opens the app from the home screen
  adb -s 127.0.0.1:PORT exec-out screencap -p > screen.png
"""


def _epilog() -> str:
    faults = "\n".join(f"  {fault:<25} {text}" for fault, text in FAULT_DESCRIPTIONS.items())
    kinds = "\n".join(f"  {name:<12} {personality(name).title}" for name in names())
    return (
        "The control API accepts JSON lines, for example:\n"
        '  {"op": "fault", "serial": "SIM0001", "fault": "slow", "on": true, "milliseconds": 500}\n'
        '  {"op": "state", "serial": "SIM0001"}\n'
        '  {"op": "ledger", "serial": "SIM0001", "since": 0}\n'
        f"\nPersonalities:\n{kinds}\n\nFaults (the default of each setting is in "
        f"brackets):\n{faults}\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phonefarm-simulator",
        description=DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--phones", type=int, default=1, metavar="N", help="number of phones (1)")
    parser.add_argument(
        "--first",
        type=int,
        default=1,
        metavar="N",
        help=(
            "number in the first phone's serial (%(default)s); simulators of one farm need "
            "different phones: --first 101 begins with SIM0101"
        ),
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder for the ledgers"
    )
    parser.add_argument(
        "--listen-base",
        type=int,
        default=0,
        metavar="PORT",
        help="port of the first phone; the other phones use the ports above it (0: any free ports)",
    )
    parser.add_argument(
        "--personality",
        action="append",
        choices=names(),
        metavar="NAME",
        help=(
            f"a personality from the list below ({DEFAULT}); if you repeat the option, the phones "
            "take the personalities in turn"
        ),
    )
    parser.add_argument(
        "--control",
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="loopback address of the control API; port 0 takes any free port (127.0.0.1:0)",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help=(
            "write this file when all phones are ready; it contains the control address, and the "
            "phones' serials and addresses"
        ),
    )
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT; 0 then, 1 when a port was taken, 2 for bad use."""
    parser = _parser()
    options = parser.parse_args(arguments)
    host, colon, port = options.control.rpartition(":")
    if not colon or host not in LOOPBACK or not port.isdecimal() or int(port) > 65535:
        parser.error("--control must be a loopback HOST:PORT, for example 127.0.0.1:0")
    if not 1 <= options.phones <= MAX_PHONES:
        parser.error(f"--phones must be 1 to {MAX_PHONES}")
    if not 1 <= options.first <= MAX_FIRST:
        parser.error(f"--first must be 1 to {MAX_FIRST}")
    if options.listen_base and not 1024 <= options.listen_base <= 65536 - options.phones:
        parser.error(
            "--listen-base must be 0, or 1024 or more with enough ports above it for all phones"
        )
    # --help must not wait for what phones need.
    from phonefarm_simulator import program  # noqa: PLC0415 - see above

    return program.run(options, host=host, port=int(port))
