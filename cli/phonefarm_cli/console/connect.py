"""Builds the parsers of commands and verbs, and performs a verb with a client of the farm."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.farm_address import (
    EPILOG,
    add_farm_options,
    data_folder,
    farm_address,
)
from phonefarm_cli.console.process_lookup import find_process
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.up_file import read_up_file

PHONE_NAMES: Final = "phone_id, adb serial or serial number"

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""The object of argparse to which commands or verbs are added."""

VerbHandler: TypeAlias = Callable[
    [argparse.Namespace, ControllerClient], Awaitable[ExitCode | None]
]
"""Performs a verb with a client of the farm's controllers; None means exit code 0."""


def add_verbs(commands: Subparsers, noun: str, about: str) -> Subparsers:
    """Add the command *noun*; return where its verbs are added."""
    parser = commands.add_parser(noun, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.set_defaults(parser=parser)
    return parser.add_subparsers(dest="verb", required=True, metavar="VERB")


def add_verb(
    verbs: Subparsers,
    name: str,
    about: str,
    handler: VerbHandler,
    *,
    notes: str = "",
    json_about: str = "print JSON for scripts",
) -> argparse.ArgumentParser:
    """Add one verb and its *handler*; *notes* stand at the end of its --help."""
    parser = verbs.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"{notes}\n{EPILOG}" if notes else EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_farm_options(parser)
    parser.add_argument("--json", action="store_true", help=json_about)
    parser.set_defaults(
        parser=parser,
        handler=handler,
        perform=lambda options: asyncio.run(perform_verb(options)),
    )
    return parser


def add_phone(parser: argparse.ArgumentParser) -> None:
    """Add the argument PHONE, for `find_phone`."""
    complete_phones(parser.add_argument("phone", metavar="PHONE", help=PHONE_NAMES))


def complete_phones(action: argparse.Action) -> None:
    """Let the shell complete the phones of the farm that runs here."""
    action.completer = _known_phones  # type: ignore[attr-defined] # argcomplete reads it


def _known_phones(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    try:
        return [phone.phone_id for phone in read_up_file(data_folder(parsed_args)).phones]
    except CommandError:
        return []


def add_process(parser: argparse.ArgumentParser) -> None:
    """Add the argument PROCESS; the handler gets the whole id of the process."""
    parser.add_argument(
        "process",
        metavar="PROCESS",
        help="id of the process, or its first characters, if no other id begins with them",
    )


def add_reason(
    parser: argparse.ArgumentParser,
    *,
    required: bool = True,
    about: str = "the reason; the audit records it",
) -> None:
    """Add --reason.

    It is required where a verb holds back, takes or ends somebody's work or repeats it, and where
    the operator confirms that somebody has checked. It is optional where a verb gives back what
    another verb took, and where it changes who belongs to the farm or to a group.
    """
    parser.add_argument("--reason", required=required, default="", metavar="TEXT", help=about)


async def perform_verb(options: argparse.Namespace) -> ExitCode:
    """Connect to the farm and call the verb's handler."""
    farm = farm_address(options)
    async with ControllerClient.opened(farm.grpc, farm.key, farm.ca) as controller:
        if hasattr(options, "process"):
            options.process = await find_process(controller, options.process)
        code: ExitCode | None = await options.handler(options, controller)
    return ExitCode.OK if code is None else code
