"""A process as lines of text, and its error as one."""

from phonefarm.v1 import process_pb2

from phonefarm_cli.console.times import short


def lines_of(process: process_pb2.Process) -> list[str]:
    """Return what stands above the items: what it is, who asked, how it is, why it failed."""
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
        f"work      {process.process_type}, asked for by {who}{as_request}",
        f"status    {process.status} ({process.state})",
        f"times     {_times(process.timestamps)}",
        f"items     {counts}",
    ]
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


def _times(times: process_pb2.ProcessTimestamps) -> str:
    told = {
        "created": times.created_at,
        "executing": times.executing_at,
        "next try": times.retrying_at,
        "cancel asked": times.cancel_requested_at,
        "finished": times.finished_at,
    }
    return ", ".join(f"{word} {short(when)}" for word, when in told.items() if short(when))
