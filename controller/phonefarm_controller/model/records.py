"""The record of a process, which GET returns and callbacks contain, as plain JSON values."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Item, shown_deadline
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.states import ItemState, ProcessState
from phonefarm_controller.model.times import micros

LONGEST_RESULT: Final = 2 * 1024 * 1024
"""The most characters of outputs in a record, which must fit into a message of 8 MiB."""


@dataclass(frozen=True, kw_only=True)
class ItemLine:
    """An item as the record shows it."""

    item_id: str
    ordinal: int
    state: ItemState
    phone_id: str | None  # chosen, else wanted
    account_id: str | None
    actions_done: int
    actions_total: int
    deadline_at: datetime
    deadline_given: bool
    attempt: int
    failure: Failure | None
    outputs: str | None


def line_of(item: Item) -> ItemLine:
    """Return the item as the record shows it."""
    return ItemLine(
        item_id=item.item_id,
        ordinal=item.ordinal,
        state=item.state,
        phone_id=item.phone_id or item.want_phone_id or item.last_phone_id,
        account_id=item.account_id or item.want_account_id,
        actions_done=item.actions_done,
        actions_total=item.actions_total,
        deadline_at=item.deadline_at,
        deadline_given=item.deadline_given,
        attempt=item.attempt,
        failure=item.failure,
        outputs=item.outputs,
    )


def record_of(process: Process, items: Sequence[ItemLine]) -> dict[str, Any]:
    """Return the record; times are epoch microseconds or None."""
    lines = sorted(items, key=lambda line: line.ordinal)
    single = lines[0] if process.single_target and lines else None
    return {
        "process_id": process.process_id,
        "process_type": process.process_type,
        "request_id": process.request_id,
        "status": str(process.status),
        "state": str(process.state),
        "target": {
            "account_id": single.account_id if single else None,
            "phone_id": single.phone_id if single else None,
        },
        "requested_by": {
            "system": process.system,
            "user": process.user,
            "metadata_json": process.requested_by_metadata,
        },
        "callback": {"url": process.callback_url, "metadata_json": process.callback_metadata}
        if process.callback_url is not None
        else None,
        "result_json": _result(lines),
        "error": _error(process, lines),
        "timestamps": {
            "created_at": micros(process.created_at),
            "accepted_at": micros(process.created_at),
            "queued_at": micros(process.created_at),
            "executing_at": micros(process.executing_at),
            "retrying_at": micros(process.retrying_at),
            "cancel_requested_at": micros(process.cancel_requested_at),
            "finished_at": micros(process.finished_at),
        },
        "traceparent": process.traceparent,
        "queue_item_ids": [line.item_id for line in lines],
        "completed_queue_item_ids": [
            line.item_id for line in lines if line.state is ItemState.DONE
        ],
        "partial_progress": _progress(lines),
    }


def _result(lines: Sequence[ItemLine]) -> str:
    """Return the items' outputs by id; those that would make it too large are named instead."""
    done = [(line.item_id, line.outputs) for line in lines if line.outputs is not None]
    if not done:
        return "{}"
    told, omitted, size = [], [], 0
    for item_id, outputs in done:
        size += len(outputs)
        if size > LONGEST_RESULT:
            omitted.append(item_id)
        else:
            told.append(f"{json.dumps(item_id)}: {outputs}")
    rest = f', "omitted_queue_item_ids": {json.dumps(omitted)}' if omitted else ""
    return f'{{"items": {{{", ".join(told)}}}{rest}}}'


def _error(process: Process, lines: Sequence[ItemLine]) -> dict[str, Any] | None:
    if process.state is ProcessState.DONE:
        return None
    failed = [line for line in lines if line.failure is not None]
    if not failed:
        return None
    ended = [line for line in failed if line.state is ItemState.DEAD_LETTER]
    line = (ended or failed)[0]
    failure = line.failure
    if failure is None:
        return None
    return {
        "code": failure.code,
        "message": failure.message,
        "class": str(failure.failure_class),
        "queue_item_id": line.item_id,
        "action": failure.action,
        "attempt": line.attempt,
    }


def _progress(lines: Sequence[ItemLine]) -> dict[str, Any]:
    def count(state: ItemState) -> int:
        return sum(line.state is state for line in lines)

    return {
        "items_total": len(lines),
        "items_completed": count(ItemState.DONE),
        "items_failed": count(ItemState.DEAD_LETTER),
        "items_cancelled": count(ItemState.CANCELLED),
        "items": [
            {
                "queue_item_id": line.item_id,
                "phone_id": line.phone_id,
                "account_id": line.account_id,
                "status": str(line.state),
                "actions_done": line.actions_done,
                "actions_total": line.actions_total,
                "deadline_at": micros(shown_deadline(line.deadline_at)),
                "deadline_given": line.deadline_given,
            }
            for line in lines
        ],
    }
