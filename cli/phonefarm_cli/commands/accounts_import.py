"""`phonefarm accounts import`: checks a whole file of accounts, then creates or replaces them."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import LONG_CALL_SECONDS, ControllerClient, RefusedError
from phonefarm_cli.console.account_file import AccountLine, file_format, read_accounts
from phonefarm_cli.console.connect import Subparsers, add_verb
from phonefarm_cli.console.input_file import InputFileError, InputProblem, read_input
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.phone_lookup import names_of
from phonefarm_cli.console.tables import counted
from phonefarm_cli.errors import CommandError
from phonefarm_cli.terminal import note_stderr

AT_ONCE: Final = 1000
"""The controller accepts at most so many accounts in one transaction."""

_NOTES: Final = """\
the file
  CSV with a header line, or a JSON list of objects, with the columns
    account_id   1 to 128 characters from A-Z a-z 0-9 . _ : -                    (required)
    app          name of the app profile; see `phonefarm profiles list`          (required)
    phone        phone_id, adb serial or serial number; empty if the account has no phone
    active       yes or no (empty means yes); with no, the account's waiting work ends
    condition, condition_reason   as `accounts list --json` prints them; empty leaves them unchanged
  If any line is wrong, the command prints the number of each wrong line and imports nothing.

examples:
  phonefarm accounts import accounts.csv --dry-run
  phonefarm accounts import accounts.csv
  phonefarm accounts list --json > kept.json; phonefarm accounts import kept.json
"""


@dataclass(frozen=True, kw_only=True)
class _Planned:
    line: AccountLine
    account: fleet_pb2.Account


def add(verbs: Subparsers) -> None:
    """Add `phonefarm accounts import`."""
    parser = add_verb(
        verbs, "import", "create or replace accounts from a file", _import, notes=_NOTES
    )
    parser.add_argument("file", metavar="FILE", help="a .csv or .json file; - reads stdin")
    parser.add_argument(
        "--format",
        choices=["csv", "json"],
        help="format of the file, if its name does not end in .csv or .json",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the file, print what would change, and import nothing",
    )


async def _import(options: argparse.Namespace, controller: ControllerClient) -> None:
    try:
        form = file_format(options.file, options.format)
        lines = read_accounts(read_input(options.file), form)
        known = {account.account_id: account for account in await controller.accounts()}
        planned = await _plan(controller, lines, known)
    except InputFileError as error:
        raise error.as_command_error(options.file, "nothing was imported") from error
    fresh = sum(one.line.account_id not in known for one in planned)
    changed = [one for one in planned if one.account != known.get(one.line.account_id)]
    same = len(planned) - len(changed)
    sums = f"{fresh} new, {len(changed) - fresh} changed, {same} unchanged"
    if options.dry_run:
        line = f"all valid: {sums}; nothing was imported"
    else:
        await _send(controller, options.file, changed)
        line = sums
    numbers = {"accounts": len(planned), "new": fresh, "changed": len(changed) - fresh}
    result = numbers | {"unchanged": same, "imported": not options.dry_run}
    mark = "," if options.dry_run else ":"
    line = f"{options.file}: {counted(len(planned), 'account')}{mark} {line}"
    print_result(options, result, line)


async def _plan(
    controller: ControllerClient, lines: Iterable[AccountLine], known: dict[str, fleet_pb2.Account]
) -> list[_Planned]:
    """Return what to send; InputFileError names each line whose phone or app is not known."""
    phones = {
        name: phone.phone_id for phone in await controller.phones() for name in names_of(phone)
    }
    apps = await _apps(controller)
    wrong, planned = [], []
    for line in lines:
        phone_id = phones.get(line.phone.lower()) if line.phone else ""
        if phone_id is None:
            wrong.append(InputProblem(line=line.line, text=f"there is no phone {line.phone}"))
        if line.app not in apps:
            told = f"there is no app {line.app}; known: {', '.join(sorted(apps))}"
            wrong.append(InputProblem(line=line.line, text=told))
        before = known.get(line.account_id, fleet_pb2.Account(condition="ok"))
        account = fleet_pb2.Account(
            account_id=line.account_id,
            phone_id=phone_id or "",
            app=line.app,
            active=line.active,
            condition=line.condition or before.condition,
            condition_reason=line.condition_reason if line.condition else before.condition_reason,
        )
        planned.append(_Planned(line=line, account=account))
    if wrong:
        raise InputFileError(*wrong)
    return planned


async def _apps(controller: ControllerClient) -> set[str]:
    """Return the app profiles of the farm."""
    listed = await controller.capabilities()
    return {app.app for capability in listed for app in capability.apps}


async def _send(controller: ControllerClient, file: str, planned: Sequence[_Planned]) -> None:
    for first in range(0, len(planned), AT_ONCE):
        chunk = planned[first : first + AT_ONCE]
        try:
            await controller.call(
                controller.fleet.PutAccounts,
                fleet_pb2.PutAccountsRequest(accounts=[one.account for one in chunk]),
                seconds=LONG_CALL_SECONDS,
            )
        except CommandError as error:
            far = (
                (
                    f"{first} of {len(planned)} new or changed accounts were imported, up to line "
                    f"{planned[first - 1].line.line}; correct the file and import it again"
                )
                if first
                else "nothing was imported"
            )
            raise CommandError(f"{file}: {_refusal(error, chunk)}\n{far}") from error
        if len(planned) > AT_ONCE:
            note_stderr(f"  {first + len(chunk)} of {len(planned)}")


def _refusal(error: CommandError, chunk: Sequence[_Planned]) -> str:
    """Return why the controller refused the chunk, with the file's line numbers."""
    if not isinstance(error, RefusedError) or not error.problems:
        return str(error)
    told = [error.summary]
    for field, text in error.problems:
        index, _, name = field.removeprefix("accounts[").partition("].")
        if name and index.isdecimal() and int(index) < len(chunk):
            told.append(f"  line {chunk[int(index)].line.line}: {name} {text}")
        else:
            told.append(f"  {field}: {text}")
    return "\n".join(told)
