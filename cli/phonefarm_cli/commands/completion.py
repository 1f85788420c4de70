"""`phonefarm completion`: prints the script with which a shell completes commands."""

import argparse
from typing import Final

from argcomplete.shell_integration import shellcode

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.errors import ExitCode

_SHELLS: Final = ("bash", "zsh", "fish")
_NOTES: Final = """\
With this script, your shell completes commands, verbs and options. It also completes phone ids, if
a farm runs on this host.

to use it in one terminal:
  eval "$(phonefarm completion bash)"
  eval "$(phonefarm completion zsh)"
  phonefarm completion fish | source

to install it permanently:
  phonefarm completion bash > ~/.local/share/bash-completion/completions/phonefarm
  phonefarm completion zsh > "${fpath[1]}/_phonefarm"
  phonefarm completion fish > ~/.config/fish/completions/phonefarm.fish
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm completion`."""
    completion = commands.add_parser(
        "completion",
        help="print the shell completion script",
        description="Print the shell completion script.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))
    completion.set_defaults(perform=_print_script, parser=completion)


def _print_script(options: argparse.Namespace) -> ExitCode:
    print(shellcode(["phonefarm"], shell=options.shell))
    return ExitCode.OK
