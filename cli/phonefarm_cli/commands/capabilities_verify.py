"""`phonefarm capabilities verify`: a real run on a real phone, recorded once it succeeded."""

import argparse
import asyncio
import getpass
import json
import sys
from typing import Final

from phonefarm.v1 import fleet_pb2, inspect_pb2, verification_pb2

from phonefarm_cli.client.client import ControllerClient, RefusedError
from phonefarm_cli.commands.processes_evidence import COLUMNS, evidence_row
from phonefarm_cli.console.connect import PHONE_NAMES, Subparsers, add_verb
from phonefarm_cli.console.input_file import InputFileError, decode_text, read_input
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.progress import error_text, follow_process
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import OUT, echo, note_stderr

EVIDENCE_SECONDS: Final = 30.0
"""How long the evidence may take to arrive after the end of the run."""

_POLL_SECONDS: Final = 0.25

_NOTES: Final = """\
The command really runs the capability on the phone, in manual mode. Without --inputs, it uses
inputs that change little. When the run has completed and its last screen has arrived as evidence,
the capability is live verified with the current version of the app profile. The farm then accepts
unattended requests for the capability. A run on the dummy runtime does not verify a capability.

exit code: 0 if the capability is verified; 1 if not, and the command prints the reason

examples:
  phonefarm capabilities verify keyword_warmup --phone SIM0001
  echo '{"keywords": ["tiny houses"]}' | \\
    phonefarm capabilities verify keyword_warmup --phone SIM0001 --inputs - --yes
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm capabilities verify`."""
    parser = add_verb(
        verbs, "verify", "verify a capability with a real run on a phone", _verify, notes=_NOTES
    )
    parser.add_argument(
        "capability",
        metavar="NAME",
        help="name of the capability; see `phonefarm capabilities list`",
    )
    parser.add_argument("--phone", required=True, metavar="PHONE", help=PHONE_NAMES)
    parser.add_argument(
        "--account",
        metavar="ACCOUNT",
        help="the account to use (default: the only active account on the phone)",
    )
    parser.add_argument(
        "--inputs",
        metavar="FILE",
        help="file with the capability's inputs as a JSON object (- reads stdin)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


async def _verify(options: argparse.Namespace, controller: ControllerClient) -> None:
    inputs = _inputs(options.inputs)
    capability = await _capability(controller, options.capability)
    phone = await find_phone(controller, options.phone)
    account = await _account(controller, phone, options.account)
    say = note_stderr if options.json else echo
    say(f"{capability.name} will run on {phone.phone_id} ({phone.model or phone.serialno})")
    say(f"  for the account {account.account_id} of {account.app}")
    say(f"  what it does: {capability.description}")
    say(f"  inputs: {inputs or 'the default inputs, which change little'}")
    _agree(options)
    wanted = verification_pb2.VerifyCapabilityRequest(
        capability=capability.name,
        phone_id=phone.phone_id,
        account_id=account.account_id,
        inputs_json=inputs,
        requested_by=f"phonefarm:{getpass.getuser()}",
    )
    started = await controller.call(controller.verification.VerifyCapability, wanted)
    process_id = started.process_id
    say(f"process {process_id}")
    process = await follow_process(controller, process_id, say=say)
    if process.status != "completed":
        why = error_text(process.error) if process.HasField("error") else process.status
        raise CommandError(
            f"{capability.name} is not verified: {why}\n"
            f"  `phonefarm processes evidence {process_id} --save DIR` saves its evidence"
        )
    kept = await _recorded(controller, process_id)
    if options.json:
        print_json(message_dict(kept))
        return
    request = inspect_pb2.ListEvidenceRequest(process_id=process_id)
    lines = (await controller.call(controller.inspection.ListEvidence, request)).evidence
    print_table(COLUMNS, [evidence_row(line) for line in lines], empty="no evidence")
    echo(f"{kept.capability} is live verified with {kept.app} {kept.profile_version[:12]}")
    echo(f"  save the evidence: phonefarm processes evidence {process_id} --save DIR")


def _inputs(file: str | None) -> str:
    if file is None:
        return ""
    try:
        text = decode_text(read_input(file))
    except InputFileError as error:
        raise error.as_command_error(file, "no phone was touched") from error
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file} is not JSON: {error}", ExitCode.MISUSED) from error
    if not isinstance(given, dict):
        raise CommandError(f"{file} must contain a JSON object with the inputs", ExitCode.MISUSED)
    return json.dumps(given, ensure_ascii=False)


async def _capability(controller: ControllerClient, name: str) -> inspect_pb2.Capability:
    known = {each.name: each for each in await controller.capabilities()}
    if name not in known:
        raise CommandError(f"there is no capability {name}; known: {', '.join(known)}")
    if not known[name].can_be_verified and "unattended" in known[name].modes:
        raise CommandError(f"{name} uses no app profile, so it needs no verification")
    if not known[name].can_be_verified:
        raise CommandError(f"{name} never runs unattended, so you do not need to verify it")
    return known[name]


async def _account(
    controller: ControllerClient, phone: fleet_pb2.Phone, wanted: str | None
) -> fleet_pb2.Account:
    """Return the account for which the run acts; CommandError when there is not exactly one."""
    accounts = await controller.accounts()
    here = [a for a in accounts if a.phone_id == phone.phone_id and a.active]
    found = [a for a in here if wanted in {None, a.account_id}]
    if len(found) == 1:
        return found[0]
    there = ", ".join(a.account_id for a in here) or "none"
    if wanted is not None:
        raise CommandError(
            f"{wanted} is not an active account on {phone.phone_id}; its active accounts: {there}"
        )
    remedy = (
        "name one with --account"
        if here
        else f"`phonefarm accounts put ACCOUNT --app APP --phone {phone.phone_id}` creates one"
    )
    raise CommandError(f"active accounts on {phone.phone_id}: {there}; {remedy}")


def _agree(options: argparse.Namespace) -> None:
    if options.yes:
        return
    if options.inputs == "-" or not sys.stdin.isatty():
        raise CommandError(
            "stdin is not a terminal, so the command cannot ask for confirmation: give --yes",
            ExitCode.MISUSED,
        )
    try:
        answer = OUT.input("begin? (y/N) ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("the verification was not started")


async def _recorded(controller: ControllerClient, process_id: str) -> verification_pb2.Verification:
    """Record the verification once the evidence has arrived, which may be after the run's end."""
    request = verification_pb2.RecordVerificationRequest(process_id=process_id)
    loop = asyncio.get_running_loop()
    patience = loop.time() + EVIDENCE_SECONDS
    while True:
        try:
            return await controller.call(controller.verification.RecordVerification, request)
        except RefusedError as error:
            if error.reason != "state_conflict:no_evidence" or loop.time() > patience:
                raise
        await asyncio.sleep(_POLL_SECONDS)
