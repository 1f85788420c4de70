"""`phonefarm windows`: list, put, remove."""

import argparse
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import LONG_CALL_SECONDS, ControllerClient
from phonefarm_cli.console.connect import (
    PHONE_NAMES,
    Subparsers,
    add_reason,
    add_verb,
    add_verbs,
    complete_phones,
)
from phonefarm_cli.console.json_output import message_dict, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.tables import Cell
from phonefarm_cli.console.times import time_text

COLUMNS: Final = ("WINDOW", "NOW", "UNTIL", "HOURS", "ZONE", "RUNS END", "BY", "REASON")
OPTIONAL: Final = ("REASON", "BY", "RUNS END")
_SCOPES: Final = {
    "account": fleet_pb2.WINDOW_SCOPE_ACCOUNT,
    "phone": fleet_pb2.WINDOW_SCOPE_PHONE,
    "group": fleet_pb2.WINDOW_SCOPE_GROUP,
    "capability": fleet_pb2.WINDOW_SCOPE_CAPABILITY,
}
_NAMES: Final = {scope: word for word, scope in _SCOPES.items()}
_NOTES: Final = """\
Work of the account, phone, group or capability begins only while its window is open. Work that has
several windows (for example, of its account and of its phone) begins only while all of them are
open. Outside its windows, work waits; `processes explain` shows until when. A run begins only if
the window stays open for at least its time limit plus 30 s. With --may-overrun, runs begin until
the window closes. Holds have no windows.

HOURS are days and times on the clock in the zone: `mon-fri 09:00-17:00`, `sat,sun 22:00-02:00` (to
the next morning) or `daily 00:00-24:00`. If the change to summer time skips an hour, that hour does
not count. If an hour comes twice, the window is open both times.

The farm's own limit on waiting (phonefarm-controller --max-wait) does not end work that has a
window. Deadlines that callers gave still do.

examples:
  phonefarm windows put --account acc-1 --zone Europe/Berlin --hours "mon-fri 09:00-17:00" \\
      --reason "its owner is awake then"
  phonefarm windows put --group shelf-1 --zone UTC --hours "daily 20:00-06:00" --may-overrun \\
      --reason "people use these phones by day"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm windows` and its verbs."""
    verbs = add_verbs(commands, "windows", "list and set the weekly hours in which work may begin")
    add_list(verbs, "list", "list all windows, and which of them are open", _list)
    put = add_verb(
        verbs,
        "put",
        "set the weekly hours in which work may begin, or replace them",
        _put,
        notes=_NOTES,
    )
    _add_scope(put)
    put.add_argument(
        "--zone",
        required=True,
        metavar="ZONE",
        help="a time zone of the IANA database, e.g. Europe/Berlin or UTC",
    )
    put.add_argument(
        "--hours",
        required=True,
        nargs="+",
        metavar="HOURS",
        help='one or more texts of the form "DAYS HH:MM-HH:MM", e.g. "mon-fri 09:00-17:00"',
    )
    put.add_argument(
        "--may-overrun",
        action="store_true",
        help="let runs begin at any time before the window closes, even if they may end later",
    )
    add_reason(put)
    remove = add_verb(
        verbs,
        "remove",
        "remove one window, so that work may begin at any time; other windows remain",
        _remove,
    )
    _add_scope(remove)
    add_reason(remove, required=False)


def _add_scope(parser: argparse.ArgumentParser) -> None:
    scopes = parser.add_mutually_exclusive_group(required=True)
    scopes.add_argument("--account", metavar="ACCOUNT", help="work for this account")
    complete_phones(
        scopes.add_argument("--phone", metavar="PHONE", help=f"work on this phone: {PHONE_NAMES}")
    )
    scopes.add_argument("--group", metavar="GROUP", help="work on the phones of this group")
    scopes.add_argument("--capability", metavar="NAME", help="work of this capability")


async def _scope(
    options: argparse.Namespace, controller: ControllerClient
) -> tuple[fleet_pb2.WindowScope.ValueType, str]:
    if options.phone is not None:
        return fleet_pb2.WINDOW_SCOPE_PHONE, (await find_phone(controller, options.phone)).phone_id
    given = [(scope, getattr(options, word)) for word, scope in _SCOPES.items()]
    return next((scope, name) for scope, name in given if name is not None)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    answer = await controller.call(controller.fleet.ListWindows, fleet_pb2.ListWindowsRequest())
    return Listing(
        columns=COLUMNS,
        rows=window_rows(answer.windows),
        records=[message_dict(window) for window in answer.windows],
        empty="no windows: work may begin at any time",
        optional=OPTIONAL,
    )


def window_rows(windows: Sequence[fleet_pb2.Window]) -> list[list[Cell]]:
    """Return a row of COLUMNS for each window."""
    return [
        [
            f"{_NAMES.get(window.scope, window.scope)} {window.name}",
            "open" if window.open else "closed",
            window.changes_at if window.HasField("changes_at") else "-",
            ", ".join(window.hours),
            window.zone,
            "later" if window.may_overrun else "within",
            window.by,
            window.reason,
        ]
        for window in windows
    ]


async def _put(options: argparse.Namespace, controller: ControllerClient) -> None:
    scope, name = await _scope(options, controller)
    request = fleet_pb2.PutWindowRequest(
        scope=scope,
        name=name,
        zone=options.zone,
        hours=options.hours,
        may_overrun=options.may_overrun,
        reason=options.reason,
    )
    window = await controller.call(controller.fleet.PutWindow, request)
    state = "open" if window.open else "closed"
    until = f" until {time_text(window.changes_at)}" if window.HasField("changes_at") else ""
    hours = ", ".join(window.hours)
    print_result(
        options, window, f"{_NAMES[scope]} {name}: {hours} {window.zone}; now {state}{until}"
    )


async def _remove(options: argparse.Namespace, controller: ControllerClient) -> None:
    scope, name = await _scope(options, controller)
    request = fleet_pb2.RemoveWindowRequest(scope=scope, name=name, reason=options.reason)
    answer = await controller.call(
        controller.fleet.RemoveWindow, request, seconds=LONG_CALL_SECONDS
    )
    done = "the window is removed" if answer.removed else "had no window"
    print_result(options, answer, f"{_NAMES[scope]} {name}: {done}")
