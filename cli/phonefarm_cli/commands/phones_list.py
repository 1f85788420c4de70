"""`phonefarm phones list`: the phones, filtered and sorted, with what keeps work from each."""

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Final

from phonefarm.v1 import agent_pb2, fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.console.json_output import message_dict
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_selection import group_members
from phonefarm_cli.console.tables import Cell, counted
from phonefarm_cli.console.times import time_text

_COLUMNS: Final = (
    *("PHONE", "HOST", "STATE", "SINCE", "PROCESS", "EPOCH", "ACCOUNT"),
    *("AXES", "SERIAL", "ADB", "MODEL", "WHY NOT"),
)
_OPTIONAL: Final = ("MODEL", "ADB", "AXES", "SERIAL", "ACCOUNT", "EPOCH", "SINCE")
_FREE: Final = "free"
_BUSY: Final = "busy"
_NOTES: Final = """\
STATE is free, busy, or the first reason why the phone gets no work. WHY NOT lists every reason with
its details. AXES shows transport, readiness and health. If the terminal is too narrow, the command
omits columns. In a pipe or a file it prints all columns, separated by tabs.

examples:
  phonefarm phones list --host host-1 --not-offered
  phonefarm phones list --state quarantined --state needs_hands
  phonefarm phones list --group rack-1 --sort since --watch
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm phones list`."""
    about = "list the phones, with the reasons why they get no work"
    listing = add_list(verbs, "list", about, list_phones, notes=_NOTES)
    listing.add_argument("--host", metavar="AGENT", help="list only phones on this host")
    listing.add_argument("--group", metavar="NAME", help="list only phones in this group")
    listing.add_argument("--account", metavar="ACCOUNT", help="list only the phone of this account")
    listing.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="WORD",
        help=("list only phones with this state, or with this reason: free, busy, ...; repeatable"),
    )
    listing.add_argument(
        "--not-offered", action="store_true", help="list only phones that get no new work"
    )


async def list_phones(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    """Return the phones that match every filter."""
    members = await group_members(controller, options.group) if options.group else None
    bound = await _phones_of(controller, options.account) if options.account else None
    states = {word.lower().removeprefix("phone_") for word in options.state}
    phones = [
        phone
        for phone in await controller.phones()
        if (options.host is None or phone.agent_id == options.host)
        and (members is None or phone.phone_id in members)
        and (bound is None or phone.phone_id in bound)
        and (not states or states & set(words_of(phone)))
        and not (options.not_offered and phone.offered)
    ]
    return Listing(
        columns=_COLUMNS,
        rows=[_row(phone) for phone in phones],
        records=[message_dict(phone) for phone in phones],
        empty="no such phone" if _filtered(options) else "no phone yet",
        optional=_OPTIONAL,
        summary=summary(phones),
    )


def summary(phones: Iterable[fleet_pb2.Phone]) -> str:
    """Return how many phones there are and how many are in each state: `3 phones: 2 free, 1 busy`.

    Free and busy come first, then the others, the most frequent first.
    """
    counts = Counter(words_of(phone)[0] for phone in phones)
    usual = [word for word in (_FREE, _BUSY) if counts[word]]
    words = [*usual, *(word for word, _ in counts.most_common() if word not in usual)]
    parts = ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in words)
    return f"{counted(counts.total(), 'phone')}: {parts}" if parts else "no phone"


def words_of(phone: fleet_pb2.Phone) -> list[str]:
    """Return the state of a phone and every further reason: `free`, or `quarantined` and others."""
    words = [reason.reason.removeprefix("phone_") for reason in phone.reasons]
    return sorted(dict.fromkeys(words), key=lambda word: word != _BUSY) or [_FREE]


async def _phones_of(controller: ControllerClient, account_id: str) -> set[str]:
    known = await controller.accounts()
    return {account.phone_id for account in known if account.account_id == account_id}


def _filtered(options: argparse.Namespace) -> bool:
    return bool(options.host or options.group or options.account or options.state)


def _row(phone: fleet_pb2.Phone) -> list[Cell]:
    return [
        phone.phone_id,
        phone.agent_id,
        words_of(phone)[0],
        phone.since,
        phone.process_id,
        str(phone.lease_epoch or ""),
        phone.account_id,
        _axes(phone),
        phone.serialno,
        phone.adb_serial,
        phone.model,
        "; ".join(_why(reason) for reason in phone.reasons if reason.reason != f"phone_{_BUSY}"),
    ]


def _axes(phone: fleet_pb2.Phone) -> str:
    transport = agent_pb2.Transport.Name(phone.transport).removeprefix("TRANSPORT_").lower()
    readiness = agent_pb2.Readiness.Name(phone.readiness).removeprefix("READINESS_").lower()
    until = time_text(phone.health_until)
    return f"{transport}, {readiness}, {phone.health}{f' until {until}' if until else ''}"


def _why(reason: fleet_pb2.PhoneHindrance) -> str:
    return f"{reason.reason}: {reason.detail}" if reason.detail else reason.reason
