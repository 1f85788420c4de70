"""`phonefarm keys`: create, list, revoke."""

import argparse
from datetime import UTC, datetime
from typing import Final

from phonefarm.v1 import access_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_verb, add_verbs
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.tables import Cell
from phonefarm_cli.console.times import lifetime, minute_text
from phonefarm_cli.terminal import note_stderr

_COLUMNS = ("NAME", "SCOPES", "CREATED", "BY", "EXPIRES", "LAST USED", "REVOKED")
SCOPES: Final = {
    "submit": "enqueue work, ingest content, store snapshots",
    "read": "read processes, phones, accounts and evidence",
    "watch": "see phones' screens",
    "cancel": "cancel work",
    "operate": (
        "change phones and accounts, verify capabilities, replay callbacks; includes read and watch"
    ),
    "admin": "create and revoke keys; includes all other scopes",
}
_ABOUT: Final = """\
manage the API keys: create one for each caller, with only the scopes it needs"""
_CREATE_NOTES: Final = """\
scopes:
{scopes}

The farm shows a key only once, when it creates the key, because it stores only the key's SHA-256
hash. If you lose a key, create another one. The farm's own secret (INGEST_SECRET, or api_key in
up.json) has every scope; do not give it to anybody.

examples:
  phonefarm keys create crm --scope submit --scope read --scope cancel
  phonefarm keys create dashboard --scope read --expires 90d
  KEY=$(phonefarm keys create ci --scope submit)

"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm keys` and its verbs."""
    verbs = add_verbs(commands, "keys", _ABOUT)
    create = add_verb(verbs, "create", "create a key, and print it once", _create)
    shown = "\n".join(f"  {scope:<8} {about}" for scope, about in SCOPES.items())
    create.epilog = _CREATE_NOTES.format(scopes=shown) + (create.epilog or "")
    create.add_argument(
        "name", metavar="NAME", help="name of the caller: 1 to 64 characters from A-Z a-z 0-9 . _ -"
    )
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=list(SCOPES),
        help="a scope that the key gets; repeatable",
    )
    create.add_argument(
        "--expires",
        type=lifetime,
        metavar="DURATION",
        help="how long the key is valid, e.g. 12h, 90d or 8w (default: until you revoke it)",
    )
    add_list(verbs, "list", "list all keys, without their secrets", _list)
    revoke = add_verb(
        verbs, "revoke", "revoke a key permanently; every controller refuses it at once", _revoke
    )
    revoke.add_argument("name", metavar="NAME", help="name of the key; see `phonefarm keys list`")


async def _create(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.CreateKeyRequest(name=options.name, scopes=options.scope)
    if options.expires is not None:
        request.expires_at.FromDatetime(datetime.now(UTC) + options.expires)
    made = await controller.call(controller.access.CreateKey, request)
    if options.json:
        print_json(message_dict(made))
        return
    end = f", until {minute_text(made.key.expires_at)}" if made.key.HasField("expires_at") else ""
    # The key alone on stdout, so that a script can take it.
    note_stderr(
        f"{made.key.name} may {', '.join(made.key.scopes)}{end}. Save the key now; it "
        "is not shown again:"
    )
    print(made.secret)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    keys = (await controller.call(controller.access.ListKeys, access_pb2.ListKeysRequest())).keys
    return Listing(
        columns=_COLUMNS,
        rows=[_row(key) for key in keys],
        records=[message_dict(key) for key in keys],
        empty="no keys yet; `phonefarm keys create NAME --scope SCOPE` creates one",
        optional=("BY", "CREATED"),
    )


def _row(key: access_pb2.ApiKey) -> list[Cell]:
    return [
        key.name,
        ",".join(key.scopes),
        key.created_at,
        key.created_by,
        key.expires_at,
        key.last_used_at,
        key.revoked_at,
    ]


async def _revoke(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.RevokeKeyRequest(name=options.name)
    key = await controller.call(controller.access.RevokeKey, request)
    print_result(options, key, f"{key.name}: revoked; the farm now refuses calls with this key")
