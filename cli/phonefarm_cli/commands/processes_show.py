"""`phonefarm processes show`: one process with its items and runs, or its record."""

import argparse
from typing import Final

from phonefarm.v1 import inspect_pb2, process_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.progress import process_lines
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.console.times import seconds_between
from phonefarm_cli.terminal import echo, note_stderr

_ITEMS = ("ITEM", "PHONE", "ACCOUNT", "STATE", "ACTIONS")
_ATTEMPTS = (
    "ITEM",
    "ATTEMPT",
    "PHONE",
    "ACCOUNT",
    "AGENT",
    "STATE",
    "OUTCOME",
    "CLAIMED",
    "LASTED",
)
_MOST_ITEMS: Final = 20
"""The runs of at most this many items are listed: failed and running items come first."""

_WEIGHT: Final = {"DEAD_LETTER": 0, "RETRYABLE": 1, "EXECUTING": 2, "CLAIMED": 3, "CANCELLED": 4}

_NOTES: Final = """\
--json prints the record that GET /processes/PROCESS returns, with other names for linked ids. Other
verbs show more: `timeline` shows every transition, `explain` shows why the process waits,
`deliveries` shows its callbacks, `evidence` shows the files of its runs, and `watch` shows the
process live.
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes show`."""
    show = add_verb(
        verbs, "show", "show one process: its state, items, runs and error", _show, notes=_NOTES
    )
    add_process(show)


async def _show(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = process_pb2.GetProcessRequest(process_id=options.process)
    process = await controller.call(controller.processes.GetProcess, request)
    if options.json:
        print_json(message_dict(process))
        return
    for line in process_lines(process):
        echo(line)
    if process.HasField("callback"):
        echo(f"callbacks {await _callbacks(controller, process.process_id)}")
    items = sorted(process.partial_progress.items, key=lambda i: _WEIGHT.get(i.status, 5))
    echo("")
    print_table(_ITEMS, [_item_row(item) for item in items], empty="no items yet")
    looked = [
        await controller.call(
            controller.inspection.GetQueueItem,
            inspect_pb2.GetQueueItemRequest(queue_item_id=item.queue_item_id),
        )
        for item in items[:_MOST_ITEMS]
    ]
    attempts = [_attempt_row(item, a) for item in looked for a in item.attempts]
    if attempts:
        echo("")
        print_table(_ATTEMPTS, attempts, empty="", optional=("AGENT", "ACCOUNT", "CLAIMED"))
    if len(items) > _MOST_ITEMS:
        note_stderr(
            f"the list shows the runs of only {_MOST_ITEMS} items; the timeline shows the others"
        )


async def _callbacks(controller: ControllerClient, process_id: str) -> str:
    """Return how many callbacks have arrived, and why another has not."""
    request = inspect_pb2.ListDeliveriesRequest(process_id=process_id)
    told = (await controller.call(controller.inspection.ListDeliveries, request)).deliveries
    arrived = sum(each.status == "delivered" for each in told)
    errors = [each.last_error for each in told if each.status != "delivered" and each.last_error]
    why = f"; the last error is: {errors[0]}" if errors else ""
    return f"{arrived} of {len(told)} delivered{why}"


def _item_row(item: process_pb2.ItemProgress) -> list[str]:
    return [
        item.queue_item_id,
        item.phone_id or "any",
        item.account_id or "-",
        item.status,
        f"{item.actions_done}/{item.actions_total}",
    ]


def _attempt_row(item: inspect_pb2.QueueItem, attempt: inspect_pb2.Attempt) -> list[Cell]:
    return [
        item.queue_item_id,
        str(attempt.attempt),
        attempt.phone_id,
        attempt.account_id,
        attempt.agent_id,
        attempt.status,
        attempt.outcome,
        attempt.claimed_at,
        seconds_between(attempt.started_at, attempt.ended_at),
    ]
