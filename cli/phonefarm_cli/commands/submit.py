"""`phonefarm submit`: asks for work, as a caller would by REST."""

import argparse
import getpass
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from phonefarm.v1 import process_pb2
from phonefarm_common.ids import new_id

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands.processes_watch import CODES
from phonefarm_cli.console.connect import PHONE_NAMES, Subparsers, add_verb
from phonefarm_cli.console.input_file import InputFileError, decode_text, read_input
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.progress import follow_process
from phonefarm_cli.console.times import parse_time
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import note_stderr

_MODES: Final = {"manual": process_pb2.MODE_MANUAL, "unattended": process_pb2.MODE_UNATTENDED}
_NOTES: Final = """\
Without --phone, --account or --group, one suitable phone gets the work. NAME=VALUE is an input of
the capability; see `phonefarm capabilities list --json`. VALUE is text or JSON; to give a list, you
may repeat --input. With --watch, the command shows the process until the process ends, and exits
with the same code as `phonefarm processes watch PROCESS`.

examples:
  phonefarm submit keyword_warmup --input keywords="tiny houses" --phone SIM0001 --watch
  phonefarm submit keyword_warmup --inputs inputs.json --group launch --request-id monday-1
  phonefarm submit keyword_warmup --input keywords=a --input keywords=b --dry-run
  phonefarm submit open_url --input url=https://example.com/ --any-of launch
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm submit`."""
    submit = add_verb(
        commands, "submit", "request work, and optionally follow it", _submit, notes=_NOTES
    )
    add_work(submit)
    submit.add_argument(
        "--request-id",
        metavar="ID",
        help="id that makes it safe to repeat the request (default: a new id)",
    )
    submit.add_argument(
        "--not-before", metavar="TIME", help="the run does not begin before this time"
    )
    submit.add_argument(
        "--deadline", metavar="TIME", help="latest time at which the first action may begin"
    )
    submit.add_argument(
        "--dry-run", action="store_true", help="check everything, but create nothing"
    )
    submit.add_argument("--watch", action="store_true", help="show the process until it ends")


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what work is requested, for `work_request`."""
    parser.add_argument(
        "capability", metavar="CAPABILITY", help="see `phonefarm capabilities list`"
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--input", action="append", default=[], metavar="NAME=VALUE", help="an input; repeatable"
    )
    given.add_argument(
        "--inputs", metavar="FILE", help="file with all inputs as a JSON object (- reads stdin)"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--phone", metavar="PHONE", help=PHONE_NAMES)
    target.add_argument("--account", metavar="ACCOUNT", help="the account that the run uses")
    target.add_argument("--group", metavar="NAME", help="every phone of this group gets the work")
    target.add_argument("--any-of", metavar="NAME", help="one phone of this group gets the work")
    parser.add_argument(
        "--mode", choices=list(_MODES), default="manual", help="manual or unattended (%(default)s)"
    )
    parser.add_argument(
        "--priority",
        type=int,
        metavar="N",
        help="priority, 0 to 9; work with priority 9 runs first (5)",
    )
    parser.add_argument(
        "--callback", metavar="URL", help="URL to which the farm sends the process's events"
    )


async def _submit(options: argparse.Namespace, controller: ControllerClient) -> ExitCode:
    request = await work_request(options, controller)
    request.request_id = options.request_id or new_id()
    request.dry_run = options.dry_run
    now = datetime.now(UTC)
    if options.not_before:
        when = parse_time(options.not_before, name="--not-before", now=now)
        request.not_before.CopyFrom(when)
    if options.deadline:
        request.deadline.CopyFrom(parse_time(options.deadline, name="--deadline", now=now))
    answer = await controller.call(controller.processes.Enqueue, request)
    if answer.request_differs:
        note_stderr(
            "an earlier request with this id had different content; the farm did not change it"
        )
    if options.watch and not options.dry_run:
        return await _watch(options, controller, answer.process_id)
    print_result(options, answer, _line(options, answer))
    return ExitCode.OK


async def work_request(
    options: argparse.Namespace, controller: ControllerClient
) -> process_pb2.EnqueueRequest:
    """Return the request of the options of `add_work`, without an id; CommandError says why not."""
    request = process_pb2.EnqueueRequest(
        capability=options.capability,
        mode=_MODES[options.mode],
        target=await _target(options, controller),
        inputs_json=json.dumps(await _inputs(options, controller), ensure_ascii=False),
        requested_by=process_pb2.RequestedBy(system="phonefarm", user=getpass.getuser()),
        priority=options.priority,
    )
    if options.callback:
        request.callback.url = options.callback
    return request


def _line(options: argparse.Namespace, answer: process_pb2.EnqueueResponse) -> str:
    if options.dry_run:
        items = "1 item" if answer.items_planned == 1 else f"{answer.items_planned} items"
        return f"the request is valid: it would create {items}; nothing was created"
    known = ", accepted before" if answer.duplicate else ""
    return f"{answer.process_id}: {answer.process_status}{known}, request {answer.request_id}"


async def _watch(
    options: argparse.Namespace, controller: ControllerClient, process_id: str
) -> ExitCode:
    if options.json:
        process = await follow_process(controller, process_id, say=note_stderr)
        print_json(message_dict(process))
    else:
        process = await follow_process(controller, process_id)
    return CODES[process.status]


async def _target(options: argparse.Namespace, controller: ControllerClient) -> process_pb2.Target:
    if options.phone:
        phone = await find_phone(controller, options.phone)
        return process_pb2.Target(routing=process_pb2.ROUTING_DIRECT, phone_id=phone.phone_id)
    if options.account:
        return process_pb2.Target(routing=process_pb2.ROUTING_DIRECT, account_id=options.account)
    if options.group:
        return process_pb2.Target(routing=process_pb2.ROUTING_GROUP, phone_group=options.group)
    return process_pb2.Target(routing=process_pb2.ROUTING_QUEUE, phone_group=options.any_of or "")


async def _inputs(options: argparse.Namespace, controller: ControllerClient) -> Any:
    if options.inputs:
        try:
            return json.loads(decode_text(read_input(options.inputs)))
        except InputFileError as error:
            raise error.as_command_error(options.inputs, "nothing was submitted") from error
        except (ValueError, RecursionError) as error:
            message = f"{options.inputs} is not JSON: {error}"
            raise CommandError(message, ExitCode.MISUSED) from error
    known = {each.name: each for each in await controller.capabilities()}
    if options.capability not in known:
        names = ", ".join(known)
        raise CommandError(f"there is no capability {options.capability}; known: {names}")
    schema = json.loads(known[options.capability].inputs_schema_json)
    return read_pairs(options.input, schema.get("properties", {}))


def read_pairs(words: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that NAME=VALUE words give, as a capability's schema wants them.

    A value for text is taken as it is, one for a list is added to it unless it is a JSON list, and
    any other one is JSON. CommandError for a word without `=`, and for a name given twice.
    """
    inputs: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            message = f"--input must be NAME=VALUE, not {word!r}"
            raise CommandError(message, ExitCode.MISUSED)
        kind = properties.get(name, {}).get("type")
        value = text if kind == "string" else _json_or_text(text)
        if kind == "array" and not isinstance(value, list):
            inputs.setdefault(name, []).append(text)
        elif name in inputs:
            raise CommandError(f"--input {name} is given twice", ExitCode.MISUSED)
        else:
            inputs[name] = value
    return inputs


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
