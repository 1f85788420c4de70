"""`phonefarm profiles`: the app profiles of a farm, and trying one on a phone."""

import argparse
import getpass
from pathlib import Path

from phonefarm.v1 import inspect_pb2, proving_pb2

from phonefarm_cli.client.client import Controller
from phonefarm_cli.commands.profiles_check import missing, walk_rows, walked
from phonefarm_cli.console.connect import add_json, add_verb, add_verbs
from phonefarm_cli.console.input_file import WrongFileError, content_of
from phonefarm_cli.console.json_output import show_json
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.profile_file import read_profile_file
from phonefarm_cli.console.progress import error_text, followed
from phonefarm_cli.console.tables import show_table
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import aside, complain, tell

_COLUMNS = ("PROFILE", "VERSION", "LIVE VERIFIED FOR")
_FOUND = ("SCREEN", "SELECTOR", "FOUND", "TEXT", "WHERE")

_TEACH = """\
A real run on the phone: the app is opened, every screen that taps lead to is visited, and each of
its selectors is looked for. Nothing is typed, saved or posted. Screens that only an action leads to
(the results of a search, say) are not tried; they are named. What shows only at times (a first
post, say) must be there to be found.

exit code: 0 when everything that was tried was found, else 1

examples:
  phonefarm profiles check ./newapp.toml --phone SIM0001
  phonefarm profiles check ./newapp.toml --phone SIM0001 --json
"""


def add_profiles(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its verbs."""
    verbs = add_verbs(commands, "profiles", "app profiles: how an app is driven, as data")
    listing = add_verb(verbs, "list", "list the farm's app profiles and their versions", _list)
    add_json(listing)
    check = add_verb(verbs, "check", "try a profile on a phone", _check, teach=_TEACH)
    check.add_argument("file", metavar="FILE", help="the profile, a .toml file")
    check.add_argument(
        "--phone", required=True, metavar="PHONE", help="phone_id, adb serial or serial number"
    )
    check.add_argument("--account", default="", metavar="ACCOUNT", help="whose app it is")
    add_json(check)


async def _list(options: argparse.Namespace, controller: Controller) -> None:
    capabilities = await controller.capabilities()
    versions = {a.app: a.profile_version for c in capabilities for a in c.apps}
    verified = {app: [c.name for c in capabilities if _is_verified(c, app)] for app in versions}
    if options.json:
        listed = [
            {"profile": app, "version": version, "live_verified": verified[app]}
            for app, version in versions.items()
        ]
        show_json(listed)
        return
    rows = [[app, version, ", ".join(verified[app]) or "-"] for app, version in versions.items()]
    show_table(_COLUMNS, rows, empty="no profile")


def _is_verified(capability: inspect_pb2.Capability, app: str) -> bool:
    return any(each.app == app and each.live_verified for each in capability.apps)


async def _check(options: argparse.Namespace, controller: Controller) -> ExitCode:
    try:
        profile = read_profile_file(content_of(options.file))
    except WrongFileError as error:
        raise error.told(options.file, "no phone was touched") from error
    phone = await find_phone(controller, options.phone)
    request = proving_pb2.CheckProfileRequest(
        name=Path(options.file).stem,
        profile_toml=profile.toml,
        phone_id=phone.phone_id,
        account_id=options.account,
        requested_by=f"phonefarm:{getpass.getuser()}",
    )
    process_id = (await controller.call(controller.verification.CheckProfile, request)).process_id
    aside(f"process {process_id} tries {options.file} on {phone.phone_id}")
    process = await followed(controller, process_id, say=aside)
    if process.status != "completed":
        why = error_text(process.error) if process.HasField("error") else process.status
        raise CommandError(f"{options.file} could not be tried: {why}")
    screens = walked(process)
    gone = list(missing(screens, profile))
    if options.json:
        show_json({"process_id": process_id, "found": not gone, "screens": screens})
    else:
        show_table(_FOUND, walk_rows(screens, profile), empty="the profile has no screens")
        tell("")
        tell("everything that was tried was found" if not gone else "not everything was found")
    if gone:
        complain("\n".join([f"{options.file} on {phone.phone_id}:", *gone]))
    return ExitCode.FAILED if gone else ExitCode.OK
