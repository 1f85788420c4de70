"""`phonefarm groups`: list, put, add, remove, delete, clean-up."""

import argparse
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import (
    PHONE_NAMES,
    Subparsers,
    add_reason,
    add_verb,
    add_verbs,
)
from phonefarm_cli.console.json_output import message_dict, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phones
from phonefarm_cli.console.tables import counted
from phonefarm_cli.errors import CommandError, ExitCode

_COLUMNS = ("GROUP", "KIND", "MEMBERS", "CLEAN-UP", "WHO")
_STEPS = {
    "stop_apps": fleet_pb2.CLEAN_UP_STEP_STOP_APPS,
    "remove_added": fleet_pb2.CLEAN_UP_STEP_REMOVE_ADDED,
    "home": fleet_pb2.CLEAN_UP_STEP_HOME,
}
_KINDS = {fleet_pb2.GROUP_KIND_PHONE: "phone", fleet_pb2.GROUP_KIND_ACCOUNT: "account"}
_SHOWN = 6

_NOTES: Final = """\
A request's target can name a group. With {"routing": "group", "phone_group": "shelf-1"}, the work
goes to every phone that is in the group when the farm accepts the request. With {"routing":
"queue", "phone_group": "shelf-1"}, the work goes to one of these phones.

examples:
  phonefarm groups put shelf-1 --phones SIM0001 SIM0002
  phonefarm groups put launch --accounts acc-1 acc-2 acc-3
  phonefarm groups add shelf-1 --phones SIM0003
  phonefarm groups remove shelf-1 --phones SIM0001
  phonefarm groups delete shelf-1
"""


_CLEAN_UP_NOTES: Final = """\
After each run the agent cleans the phone and checks the result. A phone that is not clean becomes
dirty and gets no work. By default the agent takes all of these steps:

  stop_apps     stop the app that the run used, and check that it has stopped
  remove_added  remove the files that the run added where apps can see them, and check the result
  home          press home, and check that the phone shows the home screen

The agent always removes the run's own folder. If a phone is in several groups, the agent takes
every step that at least one of the groups sets. A change applies to runs that are claimed after the
change.

examples:
  phonefarm groups clean-up shelf-1 --steps remove_added home --reason "the app is slow to start"
  phonefarm groups clean-up shelf-1 --default --reason "it is fast again"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm groups` and its verbs."""
    verbs = add_verbs(
        commands, "groups", "list and change groups of phones or accounts, which requests can name"
    )
    add_list(verbs, "list", "list all groups and their members", _list)
    put = add_verb(verbs, "put", "create a group or replace its members", _put, notes=_NOTES)
    put.add_argument(
        "group",
        metavar="NAME",
        help="name of the group: 1 to 128 characters from A-Z a-z 0-9 . _ : -",
    )
    _add_members(put, nargs="*")
    add_reason(put, required=False)
    for name, about, handler in (
        ("add", "add members to a group, and create it if necessary", _add_to),
        ("remove", "remove members from a group", _remove),
    ):
        change = add_verb(verbs, name, about, handler, notes=_NOTES)
        change.add_argument("group", metavar="NAME", help="name of the group")
        _add_members(change, nargs="+")
        add_reason(change, required=False)
    delete = add_verb(
        verbs, "delete", "remove a group; its members stay in the farm", _delete, notes=_NOTES
    )
    delete.add_argument("group", metavar="NAME", help="name of the group")
    delete.add_argument(
        "--kind",
        choices=sorted(_KINDS.values()),
        help="needed if a group of phones and a group of accounts both have this name",
    )
    add_reason(delete, required=False)
    cleaning = add_verb(
        verbs,
        "clean-up",
        "set how the agent cleans the phones of a group after each run",
        _set_clean_up,
        notes=_CLEAN_UP_NOTES,
    )
    cleaning.add_argument("group", metavar="NAME", help="a group of phones")
    wanted = cleaning.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--steps",
        nargs="*",
        choices=_STEPS,
        metavar="STEP",
        help=(
            f"the steps to take: any of {', '.join(_STEPS)}; if you name no STEP, the agent takes "
            "none of them"
        ),
    )
    wanted.add_argument(
        "--default",
        action="store_true",
        help="remove the setting of the group, so that the default applies",
    )
    add_reason(cleaning, required=False)


def _add_members(parser: argparse.ArgumentParser, *, nargs: str) -> None:
    members = parser.add_mutually_exclusive_group(required=True)
    members.add_argument("--phones", nargs=nargs, metavar="PHONE", help=PHONE_NAMES)
    members.add_argument("--accounts", nargs=nargs, metavar="ACCOUNT", help="account ids")


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    answer = await controller.call(controller.fleet.ListGroups, fleet_pb2.ListGroupsRequest())
    return Listing(
        columns=_COLUMNS,
        rows=[
            [g.name, _KINDS[g.kind], str(len(g.member_ids)), _clean_up(g), _few(g)]
            for g in answer.groups
        ],
        records=[message_dict(group) for group in answer.groups],
        empty="no groups yet: `phonefarm groups put NAME --phones PHONE` creates one",
    )


async def _put(options: argparse.Namespace, controller: ControllerClient) -> None:
    kind, members = await _members(options, controller)
    wanted = fleet_pb2.Group(kind=kind, name=options.group, member_ids=members)
    request = fleet_pb2.PutGroupRequest(group=wanted, reason=options.reason)
    group = await controller.call(controller.fleet.PutGroup, request)
    _show(options, group)


async def _add_to(options: argparse.Namespace, controller: ControllerClient) -> None:
    kind, members = await _members(options, controller)
    request = fleet_pb2.ChangeGroupRequest(
        kind=kind, name=options.group, add_ids=members, reason=options.reason
    )
    _show(options, await controller.call(controller.fleet.ChangeGroup, request))


async def _remove(options: argparse.Namespace, controller: ControllerClient) -> None:
    kind, members = await _members(options, controller)
    request = fleet_pb2.ChangeGroupRequest(
        kind=kind, name=options.group, remove_ids=members, reason=options.reason
    )
    _show(options, await controller.call(controller.fleet.ChangeGroup, request))


async def _delete(options: argparse.Namespace, controller: ControllerClient) -> None:
    answer = await controller.call(controller.fleet.ListGroups, fleet_pb2.ListGroupsRequest())
    found = [
        group
        for group in answer.groups
        if group.name == options.group and options.kind in {None, _KINDS[group.kind]}
    ]
    if not found:
        raise CommandError(
            f"there is no group {options.group}; `phonefarm groups list` shows all groups",
            ExitCode.FAILED,
        )
    if len(found) > 1:
        raise CommandError(
            f"a group of phones and a group of accounts have the name {options.group}: give "
            "--kind phone or --kind account",
            ExitCode.MISUSED,
        )
    none = fleet_pb2.Group(kind=found[0].kind, name=options.group)
    request = fleet_pb2.PutGroupRequest(group=none, reason=options.reason)
    group = await controller.call(controller.fleet.PutGroup, request)
    print_result(options, group, f"{options.group}: removed")


async def _members(
    options: argparse.Namespace, controller: ControllerClient
) -> tuple[fleet_pb2.GroupKind.ValueType, list[str]]:
    if options.accounts is None:
        phones = await find_phones(controller, options.phones)
        return fleet_pb2.GROUP_KIND_PHONE, [phone.phone_id for phone in phones]
    return fleet_pb2.GROUP_KIND_ACCOUNT, options.accounts


def _show(options: argparse.Namespace, group: fleet_pb2.Group) -> None:
    size = counted(len(group.member_ids), _KINDS[group.kind])
    print_result(options, group, f"{group.name}: {size}: {_few(group) or 'none'}")


def _few(group: fleet_pb2.Group) -> str:
    more = f" and {len(group.member_ids) - _SHOWN} more" if len(group.member_ids) > _SHOWN else ""
    return ", ".join(group.member_ids[:_SHOWN]) + more


def _clean_up(group: fleet_pb2.Group) -> str:
    if not group.HasField("clean_up"):
        return "-"
    names = {number: name for name, number in _STEPS.items()}
    return " ".join(names.get(step, str(step)) for step in group.clean_up.steps) or "nothing"


async def _set_clean_up(options: argparse.Namespace, controller: ControllerClient) -> None:
    clean_up = None
    if not options.default:
        clean_up = fleet_pb2.CleanUp(steps=[_STEPS[name] for name in options.steps])
    request = fleet_pb2.SetCleanUpRequest(
        name=options.group, clean_up=clean_up, reason=options.reason
    )
    group = await controller.call(controller.fleet.SetCleanUp, request)
    told = (
        _clean_up(group)
        if group.HasField("clean_up")
        else "the steps that the other groups of its phones set"
    )
    line = f"{group.name}: clean-up is {told}, from the next claim on"
    print_result(options, group, line)
