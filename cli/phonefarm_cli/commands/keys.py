"""`phonefarm keys`: create, list, revoke."""

import argparse
from datetime import UTC, datetime
from typing import Final

from phonefarm.v1 import access_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_verb, add_verbs
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.console.times import lifetime, minute_text
from phonefarm_cli.terminal import echo, note_stderr

_COLUMNS = ("NAME", "SCOPES", "CREATED", "BY", "EXPIRES", "LAST USED", "REVOKED")
SCOPES: Final = {
    "submit": "enqueue work, ingest content, store snapshots",
    "read": "read processes, phones, accounts and evidence",
    "cancel": "cancel work",
    "operate": "change phones and accounts, verify capabilities, replay callbacks; includes read",
    "admin": "create and revoke keys; includes every other scope",
}
_ABOUT: Final = """\
the API keys: create one for each caller, with only the scopes it needs"""
_CREATE_NOTES: Final = """\
scopes:
{scopes}

A key is shown once, when it is created; the farm stores only its SHA-256. Replace a lost key.
The farm's own secret (INGEST_SECRET, up.json's api_key) has every scope; give it to nobody.

examples:
  phonefarm keys create crm --scope submit --scope read --scope cancel
  phonefarm keys create dashboard --scope read --expires 90d
  KEY=$(phonefarm keys create ci --scope submit)

"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm keys` and its verbs."""
    verbs = add_verbs(commands, "keys", _ABOUT)
    create = add_verb(verbs, "create", "create a key and print it, once", _create)
    shown = "\n".join(f"  {scope:<8} {about}" for scope, about in SCOPES.items())
    create.epilog = _CREATE_NOTES.format(scopes=shown) + (create.epilog or "")
    create.add_argument(
        "name", metavar="NAME", help="the name of its caller, 1-64 of A-Z a-z 0-9 . _ -"
    )
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=list(SCOPES),
        help="what it may do; repeatable",
    )
    create.add_argument(
        "--expires",
        type=lifetime,
        metavar="DURATION",
        help="how long it is valid: 12h, 90d, 8w (until it is revoked)",
    )
    add_verb(verbs, "list", "list every key, without its secret", _list)
    revoke = add_verb(
        verbs, "revoke", "revoke a key for good, at once, on every controller", _revoke
    )
    revoke.add_argument("name", metavar="NAME", help="its name, see `phonefarm keys list`")


async def _create(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.CreateKeyRequest(name=options.name, scopes=options.scope)
    if options.expires is not None:
        request.expires_at.FromDatetime(datetime.now(UTC) + options.expires)
    made = await controller.call(controller.access.CreateKey, request)
    end = f", until {minute_text(made.key.expires_at)}" if made.key.HasField("expires_at") else ""
    # The key alone on stdout, so that a script can take it.
    note_stderr(
        f"{made.key.name} may {', '.join(made.key.scopes)}{end}. It is shown once, so save it:"
    )
    print(made.secret)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> None:
    keys = (await controller.call(controller.access.ListKeys, access_pb2.ListKeysRequest())).keys
    rows = [
        [
            key.name,
            ",".join(key.scopes),
            minute_text(key.created_at),
            key.created_by,
            minute_text(key.expires_at),
            minute_text(key.last_used_at),
            minute_text(key.revoked_at),
        ]
        for key in keys
    ]
    print_table(_COLUMNS, rows, empty="no key yet; `phonefarm keys create` creates one")


async def _revoke(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.RevokeKeyRequest(name=options.name)
    key = await controller.call(controller.access.RevokeKey, request)
    echo(f"{key.name}: revoked; calls with it are refused from now on")
