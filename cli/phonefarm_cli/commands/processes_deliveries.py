"""`phonefarm processes deliveries` and `replay`: a process's callbacks, and sending them again."""

import argparse
from typing import Final

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.terminal import echo

_COLUMNS = (
    "SEQUENCE",
    "MILESTONE",
    "STATUS",
    "ATTEMPTS",
    "EMITTED",
    "NEXT OR SETTLED",
    "LAST ERROR",
)
_LOG = ("SEQUENCE", "ATTEMPT", "ENDED", "OUTCOME", "HTTP", "GATEWAY", "ERROR")

_NOTES: Final = """\
A callback is dead when the farm has tried to send it for 24 hours and has given up. A callback is
stopped when the receiver has responded with 410: the farm then sends this receiver no more
callbacks of the process. A replay sends callbacks again, for up to 24 hours. The callbacks keep
their order, sequence and id. A receiver may get the same callback twice; the webhook-id is then the
same.

examples:
  phonefarm processes deliveries PROCESS
  phonefarm processes replay PROCESS                  all that are dead or stopped
  phonefarm processes replay PROCESS --sequence 3 --sequence 4
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes deliveries` and `replay`."""
    about = "list a process's callbacks and the attempts to send them"
    add_process(add_verb(verbs, "deliveries", about, _list, notes=_NOTES))
    replay = add_verb(verbs, "replay", "send a process's callbacks again", _replay, notes=_NOTES)
    add_process(replay)
    replay.add_argument(
        "--sequence",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help=(
            "send the callback with this sequence number; repeatable (default: all dead or "
            "stopped callbacks)"
        ),
    )


async def _list(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = inspect_pb2.ListDeliveriesRequest(process_id=options.process)
    found = (await controller.call(controller.inspection.ListDeliveries, request)).deliveries
    if options.json:
        print_json([message_dict(line) for line in found])
        return
    for url in sorted({line.url for line in found}):
        echo(f"to {url}")
    empty = "no callbacks: the request has no callback URL, or no callback is due yet"
    rows = [_row(line) for line in found]
    print_table(_COLUMNS, rows, empty=empty, optional=("EMITTED", "ATTEMPTS"))
    log = [_log_row(line, attempt) for line in found for attempt in line.log]
    if log:
        echo("")
        print_table(_LOG, log, empty="", optional=("GATEWAY", "HTTP"))


async def _replay(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = inspect_pb2.ReplayDeliveriesRequest(
        process_id=options.process, sequences=options.sequence
    )
    answer = await controller.call(controller.inspection.ReplayDeliveries, request)
    again = ", ".join(map(str, answer.sequences)) or "none"
    print_result(options, answer, f"{options.process}: due again: {again}")


def _row(line: inspect_pb2.DeliveryLine) -> list[Cell]:
    return [
        str(line.sequence),
        line.milestone,
        line.status,
        str(line.attempts),
        line.emitted_at,
        line.settled_at if line.HasField("settled_at") else line.due_at,
        line.last_error,
    ]


def _log_row(line: inspect_pb2.DeliveryLine, attempt: inspect_pb2.DeliveryAttempt) -> list[Cell]:
    return [
        str(line.sequence),
        str(attempt.attempt),
        attempt.ended_at,
        attempt.outcome,
        str(attempt.http_status or "-"),
        attempt.gateway_id,
        attempt.error,
    ]
