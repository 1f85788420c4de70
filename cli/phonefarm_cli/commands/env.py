"""`phonefarm env`: prints the farm's address and key as variables for a shell."""

import argparse
import shlex
from typing import Final

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.console.farm_address import EPILOG, add_farm_options, farm_address
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.errors import ExitCode

_NOTES: Final = """\
FARM is the URL of the REST API, KEY is the API key, and WEBHOOK_SECRET is the secret that signs
callbacks. PHONEFARM_GRPC, PHONEFARM_KEY and PHONEFARM_CA are for other phonefarm commands. The
command omits the values that it does not know. It knows all values only for a farm that `phonefarm
up` runs.

example:
  eval "$(phonefarm env)"
  curl -H "Authorization: Bearer $KEY" "$FARM/phones"

"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm env`."""
    env = commands.add_parser(
        "env",
        help="print the farm's addresses and key as shell variables",
        description="Print the farm's addresses and key as shell variables.",
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
