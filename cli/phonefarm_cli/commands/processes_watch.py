"""`phonefarm processes watch`: shows a process live until it has ended."""

import argparse
import json
from typing import Final

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict
from phonefarm_cli.console.progress import error_text, follow_process, process_events
from phonefarm_cli.errors import ExitCode
from phonefarm_cli.terminal import echo, print_error

CODES: Final = {
    "completed": ExitCode.OK,
    "failed_terminal": ExitCode.FAILED,
    "cancelled": ExitCode.CANCELLED,
}

_NOTES: Final = """\
The command exits when the process has ended. The exit code is 0 if the process was completed, 1 if
it failed, and 3 if it was cancelled. Ctrl-C stops the command, but not the process. If the
controller restarts, the command continues. With --json, the command prints one event per line, with
number, emitted_at, process and transitions.
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes watch`."""
    watch = add_verb(
        verbs,
        "watch",
        "show a process live until it ends",
        _watch,
        notes=_NOTES,
        json_about="print one event per line, for scripts",
    )
    add_process(watch)


async def _watch(options: argparse.Namespace, controller: ControllerClient) -> ExitCode:
    if options.json:
        status = ""
        async for event in process_events(controller, options.process):
            print(json.dumps(message_dict(event), ensure_ascii=False), flush=True)
            status = event.process.status
        return CODES[status]
    process = await follow_process(controller, options.process)
    if process.HasField("error"):
        print_error(error_text(process.error))
    echo(f"{process.process_id}: {process.status}")
    return CODES[process.status]
