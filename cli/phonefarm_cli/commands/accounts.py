"""`phonefarm accounts`: list, put, clear, delete."""

import argparse
from typing import Any, Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import accounts_import
from phonefarm_cli.console.connect import Subparsers, add_reason, add_verb, add_verbs
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.tables import counted

_COLUMNS = ("ACCOUNT", "APP", "PHONE", "ACTIVE", "CONDITION", "REASON")

_LIST_NOTES: Final = """\
--json prints a file for `accounts import`: you can save it, change it and import it again.
"""

_DELETE_NOTES: Final = """\
The farm refuses to remove an account while unfinished work names it or uses it. The command also
removes the account's persona, and removes the account from its groups. What the account has done
stays in the history.

examples:
  phonefarm accounts delete acc-3 --reason "its owner has left"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm accounts` and its verbs."""
    verbs = add_verbs(commands, "accounts", "list the accounts, and bind them to phones")
    listing = add_list(verbs, "list", "list the accounts", _list, notes=_LIST_NOTES)
    listing.add_argument("--app", metavar="APP", help="list only accounts of this app")
    listing.add_argument("--phone", metavar="PHONE", help="list only accounts on this phone")
    accounts_import.add(verbs)
    clear = add_verb(
        verbs,
        "clear",
        "end an account's needs_attention state, so that the account gets work again",
        _clear,
    )
    clear.add_argument(
        "account", metavar="ACCOUNT", help="id of the account; see `phonefarm accounts list`"
    )
    add_reason(clear, about="what you found; the audit records it")
    delete = add_verb(
        verbs, "delete", "remove an account that has no work", _delete, notes=_DELETE_NOTES
    )
    delete.add_argument("account", metavar="ACCOUNT", help="id of the account")
    add_reason(delete)
    put = add_verb(verbs, "put", "create or replace an account", _put)
    put.add_argument(
        "account",
        metavar="ACCOUNT",
        help="id of the account: 1 to 128 characters from A-Z a-z 0-9 . _ : -",
    )
    put.add_argument("--app", required=True, metavar="APP", help="name of the app profile")
    put.add_argument("--phone", metavar="PHONE", help="the phone on which the account is logged in")
    put.add_argument(
        "--inactive",
        action="store_true",
        help="make the account inactive: it gets no more work, and its waiting work ends",
    )


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    phone_id = (await find_phone(controller, options.phone)).phone_id if options.phone else None
    known = [
        account
        for account in await controller.accounts()
        if options.app in {None, account.app} and phone_id in {None, account.phone_id}
    ]
    return Listing(
        columns=_COLUMNS,
        rows=[
            [a.account_id, a.app, a.phone_id, _yes(on=a.active), a.condition, a.condition_reason]
            for a in known
        ],
        records=[_record(account) for account in known],
        empty="no such account" if options.app or options.phone else "no account yet",
        summary=counted(len(known), "account"),
    )


async def _clear(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = fleet_pb2.ClearAccountRequest(account_id=options.account, reason=options.reason)
    account = await controller.call(controller.fleet.ClearAccount, request)
    print_result(options, account, f"{account.account_id}: {account.condition}")


async def _delete(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = fleet_pb2.DeleteAccountRequest(account_id=options.account, reason=options.reason)
    account = await controller.call(controller.fleet.DeleteAccount, request)
    print_result(options, account, f"{account.account_id}: removed from the farm")


async def _put(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone_id = (await find_phone(controller, options.phone)).phone_id if options.phone else ""
    wanted = fleet_pb2.Account(
        account_id=options.account,
        phone_id=phone_id,
        app=options.app,
        active=not options.inactive,
    )
    request = fleet_pb2.PutAccountRequest(account=wanted)
    account = await controller.call(controller.fleet.PutAccount, request)
    where = f"on {account.phone_id}" if account.phone_id else "on no phone"
    line = f"{account.account_id}: {account.app} {where}, active {_yes(on=account.active)}"
    print_result(options, account, line)


def _record(account: fleet_pb2.Account) -> dict[str, Any]:
    """Return the account as `accounts import` reads it."""
    return {
        "account_id": account.account_id,
        "phone": account.phone_id,
        "app": account.app,
        "active": account.active,
        "condition": account.condition,
        "condition_reason": account.condition_reason,
    }


def _yes(*, on: bool) -> str:
    return "yes" if on else "no"
