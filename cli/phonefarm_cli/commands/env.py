"""`phonefarm env`: prints the farm's address and key as variables for a shell."""

import argparse
import shlex
from typing import Final

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.console.farm_address import EPILOG, add_farm_options, farm_address
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.errors import ExitCode

_NOTES: Final = """\
FARM is the REST API, KEY the API key, WEBHOOK_SECRET signs callbacks; PHONEFARM_GRPC, PHONEFARM_KEY
and PHONEFARM_CA are for other phonefarm commands. What is not known is left out: only a farm of
`phonefarm up` has all of them.

example:
  eval "$(phonefarm env)"
  curl -H "Authorization: Bearer $KEY" "$FARM/phones"

"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm env`."""
    env = commands.add_parser(
        "env",
        help="print address and key of the farm as shell variables",
        description="Print address and key of the farm as shell variables.",
        epilog=_NOTES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_farm_options(env)
    env.add_argument("--json", action="store_true", help="print JSON for scripts")
    env.set_defaults(perform=_print_variables, parser=env)


def _print_variables(options: argparse.Namespace) -> ExitCode:
    farm = farm_address(options)
    values = {
        "FARM": farm.rest,
        "KEY": farm.key,
        "WEBHOOK_SECRET": farm.webhook_secret,
        "PHONEFARM_GRPC": farm.grpc,
        "PHONEFARM_KEY": farm.key,
        "PHONEFARM_CA": str(farm.ca or ""),
    }
    known = {name: value for name, value in values.items() if value}
    if options.json:
        print_json(known)
        return ExitCode.OK
    for name, value in known.items():
        print(f"export {name}={shlex.quote(value)}")
    return ExitCode.OK
