"""`phonefarm processes explain`: why a process waits, and what would unblock it."""

import argparse

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.console.times import deadline_text, time_text
from phonefarm_cli.terminal import echo, note_stderr

_REASONS = ("WHY NOT", "ITEMS", "WHAT HELPS")
_ITEMS = ("ITEM", "STATE", "FROM", "UNTIL", "AHEAD", "WHY NOT")
_PHONES = ("ITEM", "PHONE", "WHY NOT", "DETAIL")
_SHOWN = 8
_NOTES = """\
UNTIL is the latest time at which the first action may begin; an item that waits longer ends.
"caller" means that the request contains this deadline. "farm" means that the deadline is the farm's
own limit on waiting (phonefarm-controller --max-wait, by default 24 h). The farm's limit does not
run while a pause holds the item back; when the pause ends, the deadline moves.
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes explain`."""
    explain = add_verb(
        verbs,
        "explain",
        "explain why a process waits, and how to unblock it",
        _explain,
        notes=_NOTES,
    )
    add_process(explain)


async def _explain(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = inspect_pb2.ExplainProcessRequest(process_id=options.process)
    told = await controller.call(controller.inspection.ExplainProcess, request)
    if options.json:
        print_json(message_dict(told))
        return
    echo(f"{told.process_id}: {told.status}. {told.summary}")
    if not told.items:
        return
    if told.reasons:
        echo("")
        rows = [[reason.reason, str(reason.count), reason.remedy] for reason in told.reasons]
        print_table(_REASONS, rows, empty="")
    echo("")
    rows = [_item_row(item) for item in told.items]
    print_table(_ITEMS, rows, empty="", optional=("FROM", "AHEAD", "UNTIL"))
    phones = [
        [item.queue_item_id[:_SHOWN], one.phone_id, one.reason, one.detail]
        for item in told.items
        for one in item.phones
    ]
    if phones:
        echo("")
        print_table(_PHONES, phones, empty="")
    waiting = max((reason.count for reason in told.reasons), default=0)
    if waiting > len(told.items):
        note_stderr(f"only the first {len(told.items)} waiting items are listed")


def _item_row(item: inspect_pb2.ItemExplanation) -> list[str]:
    why = ", ".join(f"{reason.reason} ({reason.count})" for reason in item.reasons)
    return [
        item.queue_item_id[:_SHOWN],
        item.status,
        time_text(item.ready_at) or "now",
        deadline_text(item.deadline_at, given=item.deadline_given),
        str(item.items_ahead),
        why or "nothing: a controller is about to claim it",
    ]
