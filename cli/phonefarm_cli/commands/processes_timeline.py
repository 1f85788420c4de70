"""`phonefarm processes timeline`: every transition of a process."""

import argparse

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.console.times import clock_text
from phonefarm_cli.terminal import note_stderr

_STEPS = ("TIME", "WHAT", "FROM", "TO", "ATTEMPT", "PHONE", "ACCOUNT", "BY", "WHY")
_OPTIONAL = ("ACCOUNT", "ATTEMPT", "FROM", "BY")
_SHOWN = 8


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes timeline`."""
    timeline = add_verb(
        verbs,
        "timeline",
        "show every transition of a process, with its time, actor and reason",
        _timeline,
    )
    add_process(timeline)


def step_row(step: inspect_pb2.Transition) -> list[str]:
    """Return the table row of one transition."""
    return [
        clock_text(step.at),
        f"item {step.queue_item_id[:_SHOWN]}" if step.queue_item_id else "process",
        step.from_state or "-",
        step.to_state,
        str(step.attempt or "-"),
        step.phone_id or "-",
        step.account_id or "-",
        step.actor,
        step.reason,
    ]


async def _timeline(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = inspect_pb2.GetTimelineRequest(process_id=options.process)
    told = await controller.call(controller.inspection.GetTimeline, request)
    if options.json:
        print_json(message_dict(told))
        return
    if told.truncated:
        note_stderr("older transitions are not shown")
    rows = [step_row(step) for step in told.transitions]
    print_table(_STEPS, rows, empty="nothing happened", optional=_OPTIONAL)
