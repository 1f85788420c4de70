"""`phonefarm`: finds the command that was typed and turns its errors into exit codes.

The commands themselves stand in commands/, named as they are typed: `phonefarm phones hold` is
commands/phones_hold.py, and short verbs stand with their noun, `phonefarm phones list` in
commands/phones.py. To add a verb, write commands/NOUN_VERB.py with a function `add(verbs)` and call
it in `add` of commands/NOUN.py. To add a noun, write commands/NOUN.py and add it to COMMANDS.
"""

import argparse
import difflib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from phonefarm_common.config import ConfigError

from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import print_error

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("up.command", "run a whole farm in this terminal"),
    "demo": ("demo.command", "run a demo: three simulated phones, two requests, callbacks, checks"),
    "submit": ("commands.submit", "request work, and optionally follow it"),
    "processes": ("commands.processes", "list, inspect, cancel and rerun processes"),
    "phones": (
        "commands.phones",
        "list the phones, and admit, drain, hold, release or return them",
    ),
    "agents": ("commands.agents", "list the agents, invite a host, drain or revoke an agent"),
    "accounts": ("commands.accounts", "list the accounts, and bind them to phones"),
    "groups": (
        "commands.groups",
        "list and change groups of phones or accounts, which requests can name",
    ),
    "capabilities": (
        "commands.capabilities",
        "list the capabilities, and verify them on a phone",
    ),
    "profiles": ("commands.profiles", "list the app profiles, and check an app profile on a phone"),
    "keys": (
        "commands.keys",
        "manage the API keys: create one for each caller, with only the scopes it needs",
    ),
    "gateways": ("commands.gateways", "list the gateways, invite or revoke a gateway"),
    "pause": ("commands.pause", "start no new runs, for all work or for a part of it"),
    "resume": ("commands.pause", "end one pause; other pauses remain"),
    "schedules": ("commands.schedules", "list, add and pause work that recurs"),
    "windows": ("commands.windows", "list and set the weekly hours in which work may begin"),
    "limits": (
        "commands.limits",
        "list and set how many runs a day, how far apart, how many at once",
    ),
    "backup": ("commands.backup", "save a copy of the controller's database"),
    "audit": ("commands.audit", "list who did what to phones, accounts and hosts"),
    "doctor": ("commands.doctor", "check the farm, and print a remedy for each problem"),
    "alerts": (
        "commands.alerts",
        "list, test and replay what the farm reports by webhook",
    ),
    "console": (
        "commands.console",
        "print a link that logs a browser in to the web console",
    ),
    "logs": ("commands.logs", "print the logs of a farm on this host"),
    "env": ("commands.env", "print the farm's addresses and key as shell variables"),
    "contexts": (
        "commands.contexts",
        "name the farms that you work with, and choose one",
    ),
    "callbacks": ("commands.callbacks", "receive callbacks on this machine, to try them out"),
    "sim": ("commands.sim", "show the state of simulated phones, and make them fail"),
    "completion": ("commands.completion", "print the shell completion script"),
}
"""The commands in the order of --help: the module that adds each, and what it does.

A module is imported when its command is typed: --help must not wait for the others.
"""

_COMPLETING: Final = "_ARGCOMPLETE"
"""The variable that argcomplete's shell scripts set when they ask the program for words."""

_ABOUT = """\
Phonefarm gives work to Android phones. `up` runs a whole farm in this terminal, and `demo` shows a
farm at work. The other commands operate a running farm.
"""

_EPILOG = """\
start here:
  phonefarm demo                    three simulated phones, two requests, callbacks, checks
  phonefarm up --simulate 3         a farm with simulated phones, until Ctrl-C
  phonefarm phones list             in another terminal

exit codes:
  0    done
  1    the command failed; the reason is on stderr
  2    the command line or a setting is wrong, or a port is in use
  3    the watched process was cancelled
  4    another farm uses the data folder
  130  interrupted by Ctrl-C
"""


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line; only *command* gets its verbs and options."""
    parser = argparse.ArgumentParser(
        prog="phonefarm",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"phonefarm {importlib.metadata.version('phonefarm')}",
        help="print the version, and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = COMMANDS[command][0] if command and command in COMMANDS else None
    for name, (module, about) in COMMANDS.items():
        if module != own:
            commands.add_parser(name, help=about)
        elif name not in commands.choices:  # one module may add two commands
            importlib.import_module(f"phonefarm_cli.{module}").add(commands)
    return parser


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; SystemExit after --help or for a wrong one."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(command)
    if command is not None and command not in COMMANDS:
        _refuse_command(parser, command)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        used: argparse.ArgumentParser = getattr(options, "parser", parser)
        used.error(
            f"unknown arguments: {' '.join(unknown)}; `{used.prog} --help` lists the options"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command; return its exit code."""
    if _COMPLETING in os.environ:
        _complete(os.environ.get("COMP_LINE", ""))
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


def _refuse_command(parser: argparse.ArgumentParser, command: str) -> NoReturn:
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    parser.error(f"there is no command {command}: {hint}`phonefarm --help` lists the commands")


def _complete(line: str) -> NoReturn:
    """Answer the shell with the words that may follow *line*, and exit."""
    words = [word for word in line.split()[1:] if not word.startswith("-")]
    argcomplete = importlib.import_module("argcomplete")
    argcomplete.autocomplete(build_parser(words[0] if words else None))
    sys.exit(ExitCode.FAILED)  # autocomplete has exited already
