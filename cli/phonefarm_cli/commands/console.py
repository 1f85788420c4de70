"""`phonefarm console`: prints a link that logs a browser in to the web console once."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Final

from phonefarm_cli.client.console_link import console_link
from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note_stderr
from phonefarm_cli.up_file import read_up_file

_ABOUT: Final = """\
Print a link that logs a browser in to the web console. The link gives the browser the key's
permissions. It works once, within 5 minutes, and only on the gateway's own machine. If your browser
is on another machine, first forward the port: ssh -L 8080:127.0.0.1:8080 HOST.
"""
_EPILOG: Final = """\
which farm:
  --data DIR                     folder of a farm on this host (.farm), which contains its up.json
  --rest HOST:PORT, --key KEY    instead: the gateway's loopback address, and a key
  PHONEFARM_KEY                  the key from the environment

examples:
  phonefarm console
  phonefarm console --rest 127.0.0.1:8080 --key "$KEY"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm console`."""
    parser = commands.add_parser(
        "console",
        help="print a link that logs a browser in to the web console",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, default=Path(".farm"), metavar="DIR", help="the farm's folder (.farm)"
    )
    parser.add_argument(
        "--rest",
        metavar="HOST:PORT",
        help="address of the gateway, instead of the address in up.json",
    )
    parser.add_argument("--key", metavar="KEY", help="the API key, instead of the one in up.json")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    parser.set_defaults(perform=_console, parser=parser)


def _console(options: argparse.Namespace) -> ExitCode:
    rest, key = options.rest, options.key or os.environ.get("PHONEFARM_KEY")
    if not rest or not key:
        report = read_up_file(options.data)
        rest, key = rest or report.rest, key or report.api_key
    if ":" not in rest:
        raise CommandError(f"--rest must be HOST:PORT, not {rest!r}", ExitCode.MISUSED)
    link = asyncio.run(console_link(rest, key))
    if options.json:
        print_json({"url": link})
    else:
        echo(link)
    note_stderr("the link works once, within 5 minutes, in a browser on this machine")
    return ExitCode.OK
