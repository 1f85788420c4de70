"""`phonefarm profiles check`: a run opens an app's screens and looks for every selector."""

import argparse
import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from phonefarm.v1 import process_pb2, verification_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import PHONE_NAMES, Subparsers, add_verb
from phonefarm_cli.console.input_file import InputFileError, read_input
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.profile_file import ProfileFile, read_profile_file
from phonefarm_cli.console.progress import error_text, follow_process
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note_stderr, print_error

_FOUND: Final = ("SCREEN", "SELECTOR", "FOUND", "TEXT", "WHERE", "ALTERNATIVE")
_NOTES: Final = """\
Start a real run that opens the app on the phone. The run visits every screen that it can reach with
taps, and looks for each selector there. It does not type, save or post anything. If a screen
appears only after such an action (for example, search results), the command lists the screen but
does not check it. If the app shows a view only sometimes, for example an account's first post, make
sure that the app shows it during the check. If a selector has several alternatives, the last column
shows which alternative the run used, and which others also match.

exit code: 0 if the run found everything that it looked for, otherwise 1

examples:
  phonefarm profiles check ./newapp.toml --phone SIM0001
  phonefarm profiles check ./newapp.toml --phone SIM0001 --json
"""

Screens = list[dict[str, Any]]
"""The screens in the result of `check_profile`; docs/seams.md describes them."""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm profiles check`."""
    check = add_verb(verbs, "check", "check an app profile on a phone", _check, notes=_NOTES)
    check.add_argument("file", metavar="FILE", help="the app profile, a .toml file")
    check.add_argument("--phone", required=True, metavar="PHONE", help=PHONE_NAMES)
    check.add_argument(
        "--account", default="", metavar="ACCOUNT", help="the account that is logged in to the app"
    )


async def _check(options: argparse.Namespace, controller: ControllerClient) -> ExitCode:
    try:
        profile = read_profile_file(read_input(options.file))
    except InputFileError as error:
        raise error.as_command_error(options.file, "no phone was touched") from error
    phone = await find_phone(controller, options.phone)
    request = verification_pb2.CheckProfileRequest(
        name=Path(options.file).stem,
        profile_toml=profile.toml,
        phone_id=phone.phone_id,
        account_id=options.account,
        requested_by=f"phonefarm:{getpass.getuser()}",
    )
    process_id = (await controller.call(controller.verification.CheckProfile, request)).process_id
    note_stderr(f"process {process_id} checks {options.file} on {phone.phone_id}")
    process = await follow_process(controller, process_id, say=note_stderr)
    if process.status != "completed":
        why = error_text(process.error) if process.HasField("error") else process.status
        raise CommandError(f"{options.file} could not be checked: {why}")
    screens = screens_of(process)
    gone = list(missing_lines(screens, profile))
    if options.json:
        print_json({"process_id": process_id, "found": not gone, "screens": screens})
    else:
        print_table(_FOUND, screen_rows(screens, profile), empty="the profile has no screens")
        echo("")
        echo(
            "the run found everything that it looked for"
            if not gone
            else "the run did not find everything"
        )
    if gone:
        print_error("\n".join([f"{options.file} on {phone.phone_id}:", *gone]))
    return ExitCode.FAILED if gone else ExitCode.OK


def screens_of(process: process_pb2.Process) -> Screens:
    """Return what the run found on each screen; CommandError when it reported nothing."""
    found = list(_screen_lists(json.loads(process.result_json or "{}")))
    if not found:
        raise CommandError("the run ended without a result; see the process's timeline")
    return found[0]


def _screen_lists(value: Any) -> Iterator[Screens]:
    if isinstance(value, dict):
        if isinstance(value.get("screens"), list):
            yield value["screens"]
        for inner in value.values():
            yield from _screen_lists(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _screen_lists(inner)


def missing_lines(screens: Screens, profile: ProfileFile) -> Iterator[str]:
    """Yield a line for every screen and selector that was tried and not found."""
    for screen in screens:
        if _is_skipped(screen, profile):
            continue
        if not screen["reached"]:
            yield f"  the screen {screen['screen']} was not reached: {screen['why']}"
            continue
        for selector in screen["selectors"]:
            if not selector["found"]:
                yield f"  {selector['selector']} was not found on the screen {screen['screen']}"


def _is_skipped(screen: dict[str, Any], profile: ProfileFile) -> bool:
    """Tell whether only an action leads to the screen: such screens are not tried."""
    return screen["screen"] in profile.screens and screen["screen"] not in profile.tapped


def screen_rows(screens: Screens, profile: ProfileFile) -> Iterator[list[str]]:
    """Yield the table rows: screen, selector, found, text, place, alternative."""
    for screen in screens:
        if _is_skipped(screen, profile):
            yield [screen["screen"], "", "not checked", screen["why"], "", ""]
            continue
        reached = "reached" if screen["reached"] else "NO"
        by = _alternative(screen.get("shows", {}))
        yield [screen["screen"], "", reached, screen["why"], "", by]
        for selector in screen["selectors"]:
            bounds = selector.get("bounds") or []
            yield [
                "",
                selector["selector"],
                "yes" if selector["found"] else "NO",
                selector.get("text", ""),
                ",".join(map(str, bounds)),
                _alternative(selector),
            ]


def _alternative(selector: dict[str, Any]) -> str:
    """Return which of several alternatives was used and which others match; "" for a single one.

    An executor of an older release does not tell.
    """
    alternatives = selector.get("alternatives", [])
    if len(alternatives) < 2:
        return ""
    used = [
        f"{number} of {len(alternatives)}: {one['wanted']}"
        for number, one in enumerate(alternatives, start=1)
        if one["used"]
    ]
    others = [
        str(number)
        for number, one in enumerate(alternatives, start=1)
        if one["found"] and not one["used"]
    ]
    return "".join(used) + (f"; also {', '.join(others)}" if others else "")
