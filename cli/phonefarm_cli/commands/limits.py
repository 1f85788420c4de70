"""`phonefarm limits`: list, put, remove."""

import argparse
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_reason, add_verb, add_verbs
from phonefarm_cli.console.json_output import message_dict, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.tables import Cell
from phonefarm_cli.errors import CommandError

COLUMNS: Final = ("LIMIT", "OF", "VALUE", "ZONE", "SINCE", "BY", "REASON")
OPTIONAL: Final = ("REASON", "BY", "SINCE")
_SCOPES: Final = {
    "account": fleet_pb2.LIMIT_SCOPE_ACCOUNT,
    "every_account": fleet_pb2.LIMIT_SCOPE_EVERY_ACCOUNT,
    "group": fleet_pb2.LIMIT_SCOPE_GROUP,
    "app": fleet_pb2.LIMIT_SCOPE_APP,
    "agent": fleet_pb2.LIMIT_SCOPE_AGENT,
}
_SCOPE_WORDS: Final = {scope: word.replace("_", " ") for word, scope in _SCOPES.items()}
_KINDS: Final = {
    "runs_per_day": fleet_pb2.LIMIT_KIND_RUNS_PER_DAY,
    "seconds_between_runs": fleet_pb2.LIMIT_KIND_SECONDS_BETWEEN_RUNS,
    "runs_at_once": fleet_pb2.LIMIT_KIND_RUNS_AT_ONCE,
}
_KIND_WORDS: Final = {kind: word.replace("_", " ") for word, kind in _KINDS.items()}
_NOTES: Final = """\
--runs-per-day limits how many runs an account begins from midnight to midnight in the zone.
--seconds-between-runs sets the least time from the end of a run of an account to the beginning of
its next run. Both are for one account, or for every account; an account's own limit replaces that
of every account. --runs-at-once limits how many runs the phones of a group, the accounts of an app,
or the phones of an agent do at the same time.

A run counts for its account once it has passed the start gate, and each retry is a run. A run
counts as one at once from its claim until it has ended. Holds and golden jobs have no limits, and
do not count. Work over a limit waits; `processes explain` shows until when.

examples:
  phonefarm limits put --every-account --runs-per-day 20 --zone Europe/Berlin \\
      --reason "as agreed with the owners"
  phonefarm limits put --group rack-1 --runs-at-once 4 --reason "the rack's power supply"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm limits` and its verbs."""
    verbs = add_verbs(
        commands, "limits", "list and set how many runs a day, how far apart, how many at once"
    )
    add_list(verbs, "list", "list all limits", _list)
    put = add_verb(
        verbs, "put", "set a limit, or replace the one of its kind and scope", _put, notes=_NOTES
    )
    _add_scope(put)
    kinds = put.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        "--runs-per-day",
        type=int,
        metavar="N",
        help="at most so many runs begin a day; needs --zone",
    )
    kinds.add_argument(
        "--seconds-between-runs",
        type=int,
        metavar="SECONDS",
        help="at least so many seconds lie between two runs",
    )
    kinds.add_argument(
        "--runs-at-once", type=int, metavar="N", help="at most so many runs at the same time"
    )
    put.add_argument(
        "--zone",
        default="",
        metavar="ZONE",
        help="whose day counts: a time zone of the IANA database, e.g. Europe/Berlin or UTC",
    )
    add_reason(put)
    remove = add_verb(verbs, "remove", "remove one limit; other limits remain", _remove)
    _add_scope(remove)
    kinds = remove.add_mutually_exclusive_group(required=True)
    for word in _KINDS:
        option = f"--{word.replace('_', '-')}"
        kinds.add_argument(
            option, action="store_true", help=f"the limit of {word.replace('_', ' ')}"
        )
    add_reason(remove, required=False)


def _add_scope(parser: argparse.ArgumentParser) -> None:
    scopes = parser.add_mutually_exclusive_group(required=True)
    scopes.add_argument("--account", metavar="ACCOUNT", help="runs of this account")
    scopes.add_argument(
        "--every-account",
        action="store_true",
        help="runs of each account that has no limit of its own of this kind",
    )
    scopes.add_argument("--group", metavar="GROUP", help="runs on the phones of this group")
    scopes.add_argument("--app", metavar="APP", help="runs of this app's accounts")
    scopes.add_argument("--agent", metavar="AGENT", help="runs on the phones of this agent's host")


def _scope(options: argparse.Namespace) -> tuple[fleet_pb2.LimitScope.ValueType, str]:
    if options.every_account:
        return fleet_pb2.LIMIT_SCOPE_EVERY_ACCOUNT, ""
    given = [(scope, getattr(options, word)) for word, scope in _SCOPES.items()]
    return next((scope, name) for scope, name in given if isinstance(name, str))


def _kind(options: argparse.Namespace) -> tuple[fleet_pb2.LimitKind.ValueType, int]:
    given = [(kind, getattr(options, word)) for word, kind in _KINDS.items()]
    return next((kind, value) for kind, value in given if value is not None and value is not False)


async def _list(_options: argparse.Namespace, controller: ControllerClient) -> Listing:
    answer = await controller.call(controller.fleet.ListLimits, fleet_pb2.ListLimitsRequest())
    return Listing(
        columns=COLUMNS,
        rows=_rows(answer.limits),
        records=[message_dict(limit) for limit in answer.limits],
        empty="no limits",
        optional=OPTIONAL,
    )


def _rows(limits: Sequence[fleet_pb2.Limit]) -> list[list[Cell]]:
    return [
        [
            _KIND_WORDS.get(limit.kind, str(limit.kind)),
            _told(limit.scope, limit.name),
            str(limit.value),
            limit.zone or "-",
            limit.since,
            limit.by,
            limit.reason,
        ]
        for limit in limits
    ]


def _told(scope: fleet_pb2.LimitScope.ValueType, name: str) -> str:
    return f"{_SCOPE_WORDS.get(scope, scope)} {name}".strip()


async def _put(options: argparse.Namespace, controller: ControllerClient) -> None:
    scope, name = _scope(options)
    kind, value = _kind(options)
    if not 0 < value < 2**31:
        raise CommandError(f"{_KIND_WORDS[kind]}: must be a number from 1 on, not {value}")
    request = fleet_pb2.PutLimitRequest(
        kind=kind,
        scope=scope,
        name=name,
        value=value,
        zone=options.zone,
        reason=options.reason,
    )
    limit = await controller.call(controller.fleet.PutLimit, request)
    zone = f", {limit.zone}" if limit.zone else ""
    print_result(options, limit, f"{_told(scope, name)}: {value} {_KIND_WORDS[kind]}{zone}")


async def _remove(options: argparse.Namespace, controller: ControllerClient) -> None:
    scope, name = _scope(options)
    kind, _ = _kind(options)
    request = fleet_pb2.RemoveLimitRequest(kind=kind, scope=scope, name=name, reason=options.reason)
    answer = await controller.call(controller.fleet.RemoveLimit, request)
    done = "is removed" if answer.removed else "did not exist"
    print_result(options, answer, f"{_told(scope, name)}: the limit of {_KIND_WORDS[kind]} {done}")
