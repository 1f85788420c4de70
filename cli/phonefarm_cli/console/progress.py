"""Shows a process: as lines of text, live on a terminal, or a line per transition."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Final

from phonefarm.v1 import inspect_pb2, process_pb2
from phonefarm_common.backoff import backoff
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.console.times import clock_text, deadline_text, time_text
from phonefarm_cli.terminal import OUT, echo, note_stderr

PATIENCE_SECONDS: Final = 120.0
"""The command waits this long for a controller that does not answer."""

_ROWS: Final = 30
_STYLES: Final = {"DONE": "green", "DEAD_LETTER": "red", "CANCELLED": "yellow", "EXECUTING": "cyan"}
_ENDED: Final = frozenset({"completed", "failed_terminal", "cancelled"})
_WAITING: Final = frozenset({"QUEUED", "SCHEDULED", "RETRYABLE"})
_SHOWN: Final = 8


def process_lines(process: process_pb2.Process) -> list[str]:
    """Return what a process is, who requested it, its status, times and error, a line each."""
    asked = process.requested_by
    who = f"{asked.system} ({asked.user})" if asked.user else asked.system
    as_request = f", request {process.request_id}" if process.request_id else ""
    progress = process.partial_progress
    counts = (
        f"{progress.items_completed} of {progress.items_total} completed, "
        f"{progress.items_failed} failed, {progress.items_cancelled} cancelled"
    )
    lines = [
        f"process   {process.process_id}",
        f"work      {process.process_type}, requested by {who}{as_request}",
        f"status    {process.status} ({process.state})",
        f"times     {_times(process.timestamps)}",
        f"items     {counts}",
    ]
    waiting = [item for item in progress.items if item.status in _WAITING]
    if waiting:
        first = min(waiting, key=lambda item: item.deadline_at.ToNanoseconds() or math.inf)
        until = deadline_text(first.deadline_at, given=first.deadline_given)
        lines.append(f"waits     until {until}")
    if process.HasField("callback"):
        lines.append(f"callback  {process.callback.url}")
    if process.HasField("error"):
        lines.append(f"error     {error_text(process.error)}")
    return lines


def error_text(error: process_pb2.ProcessError) -> str:
    """Return code, class, place and message of an error in one line."""
    place = f", action {error.action}" if error.action else ""
    place += f", attempt {error.attempt}" if error.attempt else ""
    place += f", item {error.queue_item_id}" if error.queue_item_id else ""
    return f"{error.code} ({error.failure_class}{place}): {error.message}"


async def follow_process(
    controller: ControllerClient, process_id: str, *, say: Callable[[str], None] = echo
) -> process_pb2.Process:
    """Show the process until it has ended; return its record.

    Where stdout is no terminal, *say* prints a line per transition.
    """
    if not OUT.is_terminal:
        return await _show_events(
            controller, process_id, lambda event: _print_transitions(event, say)
        )
    with Live(console=OUT, refresh_per_second=10) as live:
        return await _show_events(
            controller, process_id, lambda event: live.update(_view(event.process))
        )


async def process_events(
    controller: ControllerClient, process_id: str, *, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[inspect_pb2.ProcessEvent]:
    """Yield every event of the process until it has ended, through restarts of the controller.

    UnreachableError when the controller has not answered for *patience* seconds.
    """
    loop = asyncio.get_running_loop()
    after, failures, away_since = 0, 0, loop.time()
    while True:
        try:
            request = inspect_pb2.WatchProcessRequest(process_id=process_id, after=after)
            async for event in controller.stream(controller.inspection.WatchProcess, request):
                after, failures = event.number, 0
                yield event
                if event.process.status in _ENDED:
                    return
            away_since = loop.time()
        except UnreachableError:
            away_since = away_since if failures else loop.time()
            failures += 1
            if loop.time() - away_since > patience:
                raise
            note_stderr("the controller does not answer; the command tries again")
            await asyncio.sleep(backoff(failures, first=0.2, most=5))


async def _show_events(
    controller: ControllerClient, process_id: str, show: Callable[[inspect_pb2.ProcessEvent], None]
) -> process_pb2.Process:
    process = process_pb2.Process()
    async for event in process_events(controller, process_id):
        show(event)
        process = event.process
    return process


def _print_transitions(event: inspect_pb2.ProcessEvent, say: Callable[[str], None]) -> None:
    done = {item.queue_item_id: item for item in event.process.partial_progress.items}
    for step in event.transitions:
        what = f"item {step.queue_item_id[:_SHOWN]}" if step.queue_item_id else "process      "
        where = f" on {step.phone_id}" if step.phone_id else ""
        why = f" ({step.reason})" if step.reason else ""
        item = done.get(step.queue_item_id)
        far = ""
        if item and item.status == step.to_state:
            far = f", {item.actions_done}/{item.actions_total} actions"
        say(f"{clock_text(step.at)}  {what}  {step.to_state}{where}{why}{far}")


def _view(process: process_pb2.Process) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PHONE", "ACCOUNT", "STATE", "ACTIONS"):
        table.add_column(column)
    items = process.partial_progress.items
    for item in items[:_ROWS]:
        style = _STYLES.get(item.status, "dim")
        table.add_row(
            escape(item.phone_id or "any"),
            escape(item.account_id or "-"),
            f"[{style}]{item.status}[/]",
            f"{item.actions_done}/{item.actions_total}",
        )
    more = [f"and {len(items) - _ROWS} more items"] if len(items) > _ROWS else []
    return Group(*[escape(line) for line in process_lines(process)], "", table, *more)


def _times(times: process_pb2.ProcessTimestamps) -> str:
    told = {
        "created": times.created_at,
        "executing": times.executing_at,
        "next try": times.retrying_at,
        "cancel asked": times.cancel_requested_at,
        "finished": times.finished_at,
    }
    return ", ".join(f"{word} {time_text(when)}" for word, when in told.items() if time_text(when))
