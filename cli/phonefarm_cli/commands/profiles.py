"""`phonefarm profiles`: lists the app profiles of a farm."""

import argparse

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import profiles_check
from phonefarm_cli.console.connect import Subparsers, add_verbs
from phonefarm_cli.console.list_verbs import Listing, add_list

_COLUMNS = ("PROFILE", "VERSION", "LIVE VERIFIED FOR")


def add(commands: Subparsers) -> None:
    """Add `phonefarm profiles` and its verbs."""
    verbs = add_verbs(
        commands, "profiles", "list the app profiles, and check an app profile on a phone"
    )
    add_list(verbs, "list", "list the farm's app profiles and their versions", _list)
    profiles_check.add(verbs)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    capabilities = await controller.capabilities()
    versions = {a.app: a.profile_version for c in capabilities for a in c.apps}
    verified = {app: [c.name for c in capabilities if _is_verified(c, app)] for app in versions}
    return Listing(
        columns=_COLUMNS,
        rows=[[app, version, ", ".join(verified[app]) or "-"] for app, version in versions.items()],
        records=[
            {"profile": app, "version": version, "live_verified": verified[app]}
            for app, version in versions.items()
        ],
        empty="no profile",
        optional=("VERSION",),
    )


def _is_verified(capability: inspect_pb2.Capability, app: str) -> bool:
    return any(each.app == app and each.live_verified for each in capability.apps)
