"""`phonefarm processes`: list and cancel; the other verbs have modules of their own."""

import argparse
import getpass
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from phonefarm.v1 import process_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import (
    processes_deliveries,
    processes_evidence,
    processes_explain,
    processes_rerun,
    processes_show,
    processes_timeline,
    processes_watch,
)
from phonefarm_cli.console.connect import (
    Subparsers,
    add_process,
    add_reason,
    add_verb,
    add_verbs,
)
from phonefarm_cli.console.json_output import message_dict, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.tables import Cell, counted
from phonefarm_cli.console.times import parse_time, seconds_between
from phonefarm_cli.errors import CommandError, ExitCode

_COLUMNS = ("PROCESS", "TYPE", "REQUEST", "STATUS", "ITEMS", "CREATED", "LASTED", "ERROR")
_STATUSES = ("queued", "executing", "retrying", "completed", "failed_terminal", "cancelled")
_STRATEGIES = {
    "soft": process_pb2.CANCEL_STRATEGY_SOFT,
    "hard": process_pb2.CANCEL_STRATEGY_HARD,
    "soft_then_force": process_pb2.CANCEL_STRATEGY_SOFT_THEN_FORCE,
}
_LARGEST_PAGE: Final = 500

_LIST_NOTES: Final = """\
The list contains only processes that match every filter. TIME is a date and time such as
2026-01-31T08:00Z, or an age such as 30m, 2h or 7d.

examples:
  phonefarm processes list --status failed_terminal --since 24h
  phonefarm processes list --account acc-1 --type keyword_warmup --type maintenance
  phonefarm processes list --limit 1000 --json
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm processes` and its verbs."""
    verbs = add_verbs(commands, "processes", "list, inspect, cancel and rerun processes")
    _add_list(verbs)
    processes_show.add(verbs)
    processes_watch.add(verbs)
    processes_timeline.add(verbs)
    processes_explain.add(verbs)
    processes_deliveries.add(verbs)
    processes_evidence.add(verbs)
    processes_rerun.add(verbs)
    cancel = add_verb(
        verbs,
        "cancel",
        "cancel a process; the command does not wait until the process has ended",
        _cancel,
    )
    add_process(cancel)
    add_reason(cancel)
    cancel.add_argument(
        "--strategy",
        choices=list(_STRATEGIES),
        default="soft_then_force",
        help="`soft`: the run stops between two actions; `hard`: the farm kills the run's "
        "container at once; `soft_then_force`: first `soft`, then `hard` after --force-after "
        "(%(default)s)",
    )
    cancel.add_argument(
        "--force-after",
        type=int,
        default=10,
        metavar="SECONDS",
        help="time in seconds between soft and hard (10)",
    )


def _add_list(verbs: Subparsers) -> None:
    listing = add_list(verbs, "list", "list processes, newest first", _list, notes=_LIST_NOTES)
    listing.add_argument(
        "--limit", type=int, default=20, metavar="N", help="list at most N processes (20)"
    )
    listing.add_argument(
        "--cursor",
        default="",
        metavar="TEXT",
        help="continue an earlier list; TEXT is the cursor that the list printed",
    )
    listing.add_argument(
        "--status",
        action="append",
        default=[],
        choices=_STATUSES,
        help="list only processes with this status; repeatable",
    )
    listing.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="TYPE",
        help="list only processes of this type; repeatable",
    )
    listing.add_argument(
        "--system",
        default="",
        metavar="NAME",
        help="list only processes that this system requested",
    )
    listing.add_argument(
        "--request", default="", metavar="ID", help="list only processes with this request id"
    )
    listing.add_argument(
        "--account", default="", metavar="ACCOUNT", help="list only processes for this account"
    )
    listing.add_argument(
        "--phone", default="", metavar="PHONE", help="list only processes on this phone"
    )
    listing.add_argument(
        "--since", metavar="TIME", help="list only processes created at this time or later"
    )
    listing.add_argument(
        "--until", metavar="TIME", help="list only processes created before this time"
    )


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    if options.limit < 1:
        raise CommandError("--limit must be 1 or more", ExitCode.MISUSED)
    request = process_pb2.ListProcessesRequest(
        statuses=options.status,
        process_types=options.type,
        system=options.system,
        request_id=options.request,
        account_id=options.account,
        phone_id=(await find_phone(controller, options.phone)).phone_id if options.phone else "",
        cursor=options.cursor,
    )
    now = datetime.now(UTC)
    if options.since:
        request.created_from.CopyFrom(parse_time(options.since, name="--since", now=now))
    if options.until:
        request.created_before.CopyFrom(parse_time(options.until, name="--until", now=now))
    found: list[process_pb2.Process] = []
    while len(found) < options.limit:
        request.limit = min(options.limit - len(found), _LARGEST_PAGE)
        page = await controller.call(controller.processes.ListProcesses, request)
        found += page.processes
        request.cursor = page.next_cursor
        if not page.next_cursor:
            break
    cursor = request.cursor
    return Listing(
        columns=_COLUMNS,
        rows=[_row(process) for process in found],
        records=[message_dict(process) for process in found],
        empty="no such process",
        optional=("REQUEST", "LASTED", "TYPE"),
        summary=_summary(found),
        more=f"there are more processes: --cursor {cursor}" if cursor else "",
        around=lambda records: {"processes": records, "next_cursor": cursor},
    )


def _summary(found: Sequence[process_pb2.Process]) -> str:
    """Return how many processes are listed, and how many are in each status."""
    counts = Counter(process.status for process in found)
    parts = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    listed = "1 process" if len(found) == 1 else f"{len(found)} processes"
    return f"{listed}: {parts}" if parts else listed


async def _cancel(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = process_pb2.CancelProcessRequest(
        process_id=options.process,
        reason=options.reason,
        requested_by=f"phonefarm:{getpass.getuser()}",
        strategy=_STRATEGIES[options.strategy],
        force_after_seconds=options.force_after,
    )
    answer = await controller.call(controller.processes.CancelProcess, request)
    ended, active = len(answer.cancelled_queue_item_ids), len(answer.active_queue_item_ids)
    print_result(
        options,
        answer,
        f"{answer.process_id}: {answer.status}, now {answer.process_status}; "
        f"{counted(ended, 'waiting item')} cancelled, {active} active, "
        f"termination {answer.termination_status}",
    )


def _row(process: process_pb2.Process) -> list[Cell]:
    progress, times = process.partial_progress, process.timestamps
    return [
        process.process_id,
        process.process_type,
        process.request_id,
        process.status,
        f"{progress.items_completed}/{progress.items_total}",
        times.created_at,
        seconds_between(times.executing_at, times.finished_at),
        process.error.code,
    ]
