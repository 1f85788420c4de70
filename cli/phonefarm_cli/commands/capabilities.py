"""`phonefarm capabilities`: lists the capabilities and their verifications."""

import argparse
from typing import Final

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import capabilities_verify
from phonefarm_cli.console.connect import Subparsers, add_verb, add_verbs
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.terminal import echo

_COLUMNS = ("CAPABILITY", "MODES", "ROUTINGS", "BY", "WHAT IT DOES")
_APPS = ("CAPABILITY", "APP", "VERSION", "LIVE VERIFIED", "BY", "PROCESS")
_SHOWN = 12

_NOTES: Final = """\
A capability that uses an app must be live verified with the current app profile. Otherwise, the
farm refuses requests for it in unattended mode. To verify a capability, run `phonefarm capabilities
verify CAPABILITY --phone PHONE`. When the profile changes, you must verify the capability again.
--json also prints the JSON Schema of each capability's inputs.
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm capabilities` and its verbs."""
    verbs = add_verbs(commands, "capabilities", "list the capabilities, and verify them on a phone")
    add_verb(
        verbs,
        "list",
        "list all capabilities, and show whether they are live verified",
        _list,
        notes=_NOTES,
    )
    capabilities_verify.add(verbs)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> None:
    found = await controller.capabilities()
    if options.json:
        print_json([message_dict(capability) for capability in found])
        return
    table = [_row(capability) for capability in found]
    print_table(_COLUMNS, table, empty="no capability", optional=("BY", "ROUTINGS"))
    rows = [
        [capability.name, *_app_row(each)]
        for capability in found
        if capability.can_be_verified
        for each in capability.apps
    ]
    echo("")
    print_table(_APPS, rows, empty="no app profile", optional=("VERSION", "BY"))


def _row(capability: inspect_pb2.Capability) -> list[str]:
    return [
        capability.name,
        ", ".join(capability.modes),
        ", ".join(capability.routings),
        capability.endpoint,
        capability.description,
    ]


def _app_row(each: inspect_pb2.AppVerification) -> list[Cell]:
    return [
        each.app,
        each.profile_version[:_SHOWN],
        each.verified_at if each.live_verified else "no",
        each.verified_by or "-",
        each.process_id or "-",
    ]
