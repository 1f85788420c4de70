"""`phonefarm processes`."""

import argparse
import getpass
import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format, timestamp_pb2
from phonefarm.v1 import process_pb2

from phonefarm_cli.controller import Controller
from phonefarm_cli.operating.reaching import add_verb, add_verbs
from phonefarm_cli.operating.tables import show_table
from phonefarm_cli.screen import tell

_COLUMNS = ("PROCESS", "TYPE", "REQUEST", "STATUS", "ITEMS", "CREATED", "ERROR")
_STATUSES = ("queued", "executing", "retrying", "completed", "failed_terminal", "cancelled")
_STRATEGIES = {
    "soft": process_pb2.CANCEL_STRATEGY_SOFT,
    "hard": process_pb2.CANCEL_STRATEGY_HARD,
    "soft_then_force": process_pb2.CANCEL_STRATEGY_SOFT_THEN_FORCE,
}


def add_processes(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its verbs."""
    verbs = add_verbs(commands, "processes", "the work: list it, show one process, cancel one")
    listing = add_verb(verbs, "list", "list the newest processes", _list)
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most N (20)")
    listing.add_argument(
        "--status", action="append", default=[], choices=_STATUSES, help="only these"
    )
    show = add_verb(verbs, "show", "show one process as JSON", _show)
    show.add_argument("process", metavar="PROCESS")
    cancel = add_verb(verbs, "cancel", "ask for a process to end; the answer comes at once", _end)
    cancel.add_argument("process", metavar="PROCESS")
    cancel.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    cancel.add_argument(
        "--strategy",
        choices=list(_STRATEGIES),
        default="soft_then_force",
        help="soft: the run stops between actions; hard: its container is ended now; "
        "soft_then_force: soft, then hard after the window (%(default)s)",
    )
    cancel.add_argument(
        "--force-after", type=int, default=10, metavar="SECONDS", help="the window (10)"
    )


async def _list(options: argparse.Namespace, controller: Controller) -> None:
    page = await controller.processes.page(
        process_pb2.ListProcessesRequest(limit=options.limit, statuses=options.status)
    )
    show_table(_COLUMNS, [_row(process) for process in page.processes], empty="no process yet")


async def _show(options: argparse.Namespace, controller: Controller) -> None:
    process = await controller.processes.get(options.process)
    record: dict[str, Any] = json_format.MessageToDict(process, preserving_proto_field_name=True)
    for name in ("result_json", "metadata_json"):
        for part in (record, record.get("callback", {}), record.get("requested_by", {})):
            if name in part:
                part[name.removesuffix("_json")] = json.loads(part.pop(name) or "{}")
    print(json.dumps(record, indent=2, ensure_ascii=False))


async def _end(options: argparse.Namespace, controller: Controller) -> None:
    answer = await controller.processes.cancel(
        process_pb2.CancelProcessRequest(
            process_id=options.process,
            reason=options.reason,
            requested_by=f"phonefarm:{getpass.getuser()}",
            strategy=_STRATEGIES[options.strategy],
            force_after_seconds=options.force_after,
        )
    )
    ended, active = len(answer.cancelled_queue_item_ids), len(answer.active_queue_item_ids)
    tell(
        f"{answer.process_id}: {answer.status}, now {answer.process_status}; "
        f"{ended} waiting items cancelled, {active} active, termination {answer.termination_status}"
    )


def _row(process: process_pb2.Process) -> list[str]:
    progress = process.partial_progress
    return [
        process.process_id,
        process.process_type,
        process.request_id,
        process.status,
        f"{progress.items_completed}/{progress.items_total}",
        _instant(process.timestamps.created_at),
        process.error.code,
    ]


def _instant(moment: timestamp_pb2.Timestamp) -> str:
    return datetime.fromtimestamp(moment.ToMicroseconds() / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
