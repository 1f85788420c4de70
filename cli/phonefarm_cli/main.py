"""`phonefarm`: finds the command that was typed and turns its errors into exit codes.

The commands themselves stand in commands/, named as they are typed: `phonefarm phones hold` is
commands/phones_hold.py, and short verbs stand with their noun, `phonefarm phones list` in
commands/phones.py. To add a verb, write commands/NOUN_VERB.py with a function `add(verbs)` and call
it in `add` of commands/NOUN.py. To add a noun, write commands/NOUN.py and add it to COMMANDS.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from phonefarm_common.config import ConfigError

from phonefarm_cli.commands import (
    accounts,
    agents,
    audit,
    backup,
    capabilities,
    doctor,
    groups,
    keys,
    pause,
    phones,
    processes,
    profiles,
    sim,
)
from phonefarm_cli.demo import command as demo
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import print_error
from phonefarm_cli.up import command as up

COMMANDS: Final = (
    up.add,
    demo.add,
    processes.add,
    phones.add,
    agents.add,
    accounts.add,
    groups.add,
    capabilities.add,
    profiles.add,
    keys.add,
    pause.add,
    backup.add,
    audit.add,
    doctor.add,
    sim.add,
)
"""The commands in the order of --help. Each adds itself and its verbs."""

_ABOUT = """\
Phonefarm gives work to Android phones. `up` runs a whole farm in this terminal, `demo` shows one at
work; the other commands operate a running farm.
"""

_EPILOG = """\
start here:
  phonefarm demo                    three simulated phones, two requests, callbacks, checks
  phonefarm up --simulate 3         a farm with simulated phones, until Ctrl-C
  phonefarm phones list             in another terminal

exit codes:
  0    done
  1    failed; stderr has the reason
  2    the command line or a setting is wrong, or a port is in use
  3    the watched process was cancelled
  4    another farm uses the data folder
  130  interrupted by Ctrl-C
"""


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; SystemExit after --help or for a wrong one."""
    parser = argparse.ArgumentParser(
        prog="phonefarm",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command; return its exit code."""
    options = read_arguments(arguments)
    try:
        code: ExitCode = options.perform(options)
    except CommandError as error:
        print_error(f"phonefarm {options.command}: {error}")
        return int(error.code)
    except ConfigError as error:
        print_error(f"phonefarm {options.command}: {error}")
        return int(ExitCode.MISUSED)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads stdout any more
        return int(ExitCode.FAILED)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return int(code)
