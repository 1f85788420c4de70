"""`phonefarm capabilities`: what may be asked for, and what is live verified."""

import argparse

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import Controller
from phonefarm_cli.commands import capabilities_verify
from phonefarm_cli.console.connect import Subparsers, add_json, add_verb, add_verbs
from phonefarm_cli.console.json_output import plain, show_json
from phonefarm_cli.console.tables import show_table
from phonefarm_cli.console.times import short
from phonefarm_cli.terminal import tell

_COLUMNS = ("CAPABILITY", "MODES", "ROUTINGS", "BY", "WHAT IT DOES")
_APPS = ("CAPABILITY", "APP", "VERSION", "LIVE VERIFIED", "BY", "PROCESS")
_SHOWN = 12

_TEACH = """\
Unattended requests need a capability that was live verified with the version of the app profile in
use now: `phonefarm capabilities verify` does that. It lapses when the profile changes.
--json tells the inputs of each as a JSON Schema too.
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm capabilities` and its verbs."""
    verbs = add_verbs(commands, "capabilities", "what may be asked for, and proving that it works")
    listing = add_verb(
        verbs, "list", "list capabilities and what is live verified", _list, teach=_TEACH
    )
    add_json(listing)
    capabilities_verify.add(verbs)


async def _list(options: argparse.Namespace, controller: Controller) -> None:
    found = await controller.capabilities()
    if options.json:
        show_json([plain(capability) for capability in found])
        return
    show_table(_COLUMNS, [_row(capability) for capability in found], empty="no capability")
    rows = [
        [capability.name, *_app_row(each)]
        for capability in found
        if capability.can_be_verified
        for each in capability.apps
    ]
    tell("")
    show_table(_APPS, rows, empty="no app profile")


def _row(capability: inspect_pb2.Capability) -> list[str]:
    return [
        capability.name,
        ", ".join(capability.modes),
        ", ".join(capability.routings),
        capability.endpoint,
        capability.description,
    ]


def _app_row(each: inspect_pb2.AppVerification) -> list[str]:
    return [
        each.app,
        each.profile_version[:_SHOWN],
        short(each.verified_at) if each.live_verified else "no",
        each.verified_by or "-",
        each.process_id or "-",
    ]
