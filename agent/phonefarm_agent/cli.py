"""The `phonefarm-agent` command: runs, installs and checks the daemon of a phone host."""

import argparse
import importlib
import sys
from collections.abc import Mapping
from typing import Final

_ABOUT = """\
Run, install and check the agent, the daemon on each phone host. The agent runs its own adb server
and tells the controller which phones can work now. It executes each run that the controller assigns
to a phone, in a separate container.
"""

_EPILOG = """\
examples:
  phonefarm-agent image build
  phonefarm-agent join TOKEN --state /var/lib/phonefarm-agent
  phonefarm-agent run --state /var/lib/phonefarm-agent --connect 10.0.0.21:5555
  phonefarm-agent run --controller 10.0.0.1:7072,10.0.0.2:7072    for several controllers
"""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("host.run_commands", "run the agent until a signal stops it"),
    "join": (
        "host.run_commands",
        "make this host a member of a farm, with a token from `phonefarm agents invite`",
    ),
    "install": ("host.commands", "install the service on this host"),
    "uninstall": ("host.commands", "uninstall the service on this host"),
    "doctor": ("host.commands", "check everything that the agent needs on this host"),
    "screens": ("host.commands", "download the software that live screens need"),
    "image": ("runtimes.image", "the image of the run containers"),
}
"""The commands in the order of --help: the module that adds each, and what it does.

A module is imported when its command is typed: --help must not wait for the others.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if not word.startswith("-")), None)
    parsed = build_parser(command).parse_args(words)
    code: int = parsed.perform(parsed)
    return code


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser of `phonefarm-agent`; only *command* gets its options."""
    parser = argparse.ArgumentParser(
        prog="phonefarm-agent",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    own = COMMANDS[command][0] if command and command in COMMANDS else None
    for name, (module, about) in COMMANDS.items():
        if module != own:
            commands.add_parser(name, help=about)
        elif name not in commands.choices:  # one module adds several commands
            importlib.import_module(f"phonefarm_agent.{module}").add_commands(commands)
    return parser
