"""`phonefarm audit`: who did what to phones, accounts and hosts."""

import argparse
from datetime import UTC, datetime
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import PHONE_NAMES, Subparsers
from phonefarm_cli.console.json_output import message_dict
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.times import parse_time

_COLUMNS: Final = ("WHEN", "WHO", "DID", "TO", "WHY")
_NOTES: Final = """\
List, newest first, what operators did, what controllers did with phones that failed, and which
recovery steps agents took. `phonefarm processes timeline PROCESS` shows the history of a process.

examples:
  phonefarm audit --since 24h
  phonefarm audit --phone SIM0001
  phonefarm audit --about acc-1 --limit 1000 --json
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm audit`."""
    audit = add_list(
        commands, "audit", "list who did what to phones, accounts and hosts", _audit, notes=_NOTES
    )
    about = audit.add_mutually_exclusive_group()
    about.add_argument("--phone", metavar="PHONE", help=PHONE_NAMES)
    about.add_argument(
        "--about",
        metavar="ID",
        help="list only entries about the account, agent, group or key with this id",
    )
    audit.add_argument(
        "--since",
        metavar="TIME",
        help="list only entries from this time on: 2026-01-31T08:00Z, or 2h for two hours ago",
    )
    audit.add_argument(
        "--limit", type=int, default=100, metavar="N", help="list at most N entries (100)"
    )


async def _audit(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    request = fleet_pb2.ListAuditRequest(limit=options.limit, subject=options.about or "")
    if options.phone:
        request.subject = (await find_phone(controller, options.phone)).phone_id
    if options.since:
        now = datetime.now(UTC)
        request.since.CopyFrom(parse_time(options.since, name="--since", now=now))
    entries = (await controller.call(controller.fleet.ListAudit, request)).entries
    return Listing(
        columns=_COLUMNS,
        rows=[
            [entry.at, entry.actor, entry.verb, entry.subject, entry.reason] for entry in entries
        ],
        records=[message_dict(entry) for entry in entries],
        empty="nothing",
    )
