"""The phones that a verb changes: named one by one, or all of a host or a group."""

import argparse
from collections.abc import Awaitable, Callable
from typing import Final

from phonefarm.v1 import fleet_pb2
from phonefarm_common.reasons import Reason

from phonefarm_cli.client.client import ControllerClient, RefusedError
from phonefarm_cli.console.connect import PHONE_NAMES, complete_phones
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.phone_lookup import find_phones
from phonefarm_cli.console.tables import counted
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note_stderr, warn

NEW: Final = "new"
_RETIRED: Final = "retired"

Change = Callable[[fleet_pb2.Phone], Awaitable[fleet_pb2.Phone]]
"""Changes one phone, and returns the changed phone."""


def add_phone_selection(parser: argparse.ArgumentParser, *, all_new: bool = False) -> None:
    """Add PHONE..., --host and --group, and --all-new where it makes sense."""
    complete_phones(parser.add_argument("phones", nargs="*", metavar="PHONE", help=PHONE_NAMES))
    parser.add_argument("--host", metavar="AGENT", help="use all phones on this host instead")
    parser.add_argument("--group", metavar="NAME", help="use all phones in this group instead")
    if all_new:
        parser.add_argument("--all-new", action="store_true", help="use all new phones instead")


async def group_members(controller: ControllerClient, name: str) -> set[str]:
    """Return the phones of a group; CommandError names the groups of phones."""
    answer = await controller.call(controller.fleet.ListGroups, fleet_pb2.ListGroupsRequest())
    groups = {g.name: g for g in answer.groups if g.kind == fleet_pb2.GROUP_KIND_PHONE}
    if name not in groups:
        known = ", ".join(groups) or "none"
        raise CommandError(f"there is no group of phones {name}; known: {known}")
    return set(groups[name].member_ids)


async def change_phones(
    options: argparse.Namespace,
    controller: ControllerClient,
    change: Change,
    told: Callable[[fleet_pb2.Phone, fleet_pb2.Phone], str],
    *,
    concerns: Callable[[fleet_pb2.Phone], bool] = lambda _: True,
) -> list[fleet_pb2.Phone]:
    """Change each selected phone and print what came of it; return the changed phones.

    A selection by host, group or --all-new leaves out phones that the change does not concern,
    and retired ones. A phone that the controller refuses does not stop the others; CommandError
    lists all refusals at the end.
    """
    changed, refused = [], []
    selected = await _selected(options, controller, concerns)
    for phone in selected:
        try:
            after = await change(phone)
        except RefusedError as error:
            if len(selected) == 1 or error.reason.startswith(Reason.INSUFFICIENT_SCOPE):
                raise
            refused.append(f"{phone.phone_id}: {error}")
            continue
        changed.append(after)
        if not options.json:
            echo(told(phone, after))
            for warning in after.warnings:
                warn(warning)
    if options.json:
        print_json([message_dict(phone) for phone in changed])
    if refused:
        message = f"{counted(len(refused), 'phone')} of {len(selected)} not changed:"
        raise CommandError("\n  ".join([message, *refused]))
    return changed


async def _selected(
    options: argparse.Namespace,
    controller: ControllerClient,
    concerns: Callable[[fleet_pb2.Phone], bool],
) -> list[fleet_pb2.Phone]:
    all_new = getattr(options, "all_new", False)
    by_rule = bool(options.host or options.group or all_new)
    if bool(options.phones) == by_rule:
        rules = "--host or --group" + (" or --all-new" if hasattr(options, "all_new") else "")
        raise CommandError(f"name phones, or select them with {rules}", ExitCode.MISUSED)
    if options.phones:
        return await find_phones(controller, options.phones)
    members = await group_members(controller, options.group) if options.group else None
    chosen = [
        phone
        for phone in await controller.phones()
        if (options.host is None or phone.agent_id == options.host)
        and (members is None or phone.phone_id in members)
        and (not all_new or phone.intent == NEW)
        and phone.health != _RETIRED
        and concerns(phone)
    ]
    if not chosen:
        note_stderr("no such phone")
    return chosen
