"""`phonefarm`: a farm in one terminal, and the operator's commands."""

import argparse
import sys
from collections.abc import Sequence

from phonefarm_common.config import ConfigError

from phonefarm_cli.commands.accounts import add_accounts
from phonefarm_cli.commands.agents import add_agents
from phonefarm_cli.commands.audit import add_audit
from phonefarm_cli.commands.backup import add_backup
from phonefarm_cli.commands.capabilities import add_capabilities
from phonefarm_cli.commands.doctor import add_doctor
from phonefarm_cli.commands.groups import add_groups
from phonefarm_cli.commands.keys import add_keys
from phonefarm_cli.commands.pause import add_pause
from phonefarm_cli.commands.phones import add_phones
from phonefarm_cli.commands.processes import add_processes
from phonefarm_cli.commands.profiles import add_profiles
from phonefarm_cli.commands.sim import add_sim
from phonefarm_cli.demo.command import add_demo
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import complain
from phonefarm_cli.up.command import add_up

_ABOUT = """\
Phonefarm gives work to Android phones. `up` runs a whole farm in this terminal, `demo` shows one at
work; the other commands look after a farm that runs.
"""

_EPILOG = """\
begin here:
  phonefarm demo                    three simulated phones, a job each, callbacks, proof
  phonefarm up --simulate 3         a farm to play with, until Ctrl-C
  phonefarm phones list             in another terminal

exit codes:
  0  done   1  it failed; the reason is on stderr   2  a setting is wrong, or a port is in use
  3  what was watched has been cancelled   4  another farm works with the data folder
  130  interrupted by Ctrl-C
"""


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is to be done; SystemExit says what is wrong with the arguments, or helps."""
    parser = argparse.ArgumentParser(
        prog="phonefarm",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        add_up,
        add_demo,
        add_processes,
        add_phones,
        add_agents,
        add_accounts,
        add_groups,
        add_capabilities,
        add_profiles,
        add_keys,
        add_pause,
        add_backup,
        add_audit,
        add_doctor,
        add_sim,
    ):
        add(commands)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command; return its exit code."""
    options = read_arguments(arguments)
    try:
        code: ExitCode = options.perform(options)
    except CommandError as error:
        complain(f"phonefarm {options.command}: {error}")
        return int(error.code)
    except ConfigError as error:
        complain(f"phonefarm {options.command}: {error}")
        return int(ExitCode.MISUSED)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on, and nobody needs to be told
        return int(ExitCode.FAILED)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return int(code)
