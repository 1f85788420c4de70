"""The record of a process, as GET answers it and as callbacks carry it: one shape, one renderer."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RequestedBy:
    """Who asked."""

    system: str
    user: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Callback:
    """Where the caller wants to be told."""

    url: str
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProcessError:
    """Why a process did not end well."""

    code: str
    message: str
    failure_class: str
    queue_item_id: str | None
    action: str | None
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Timestamps:
    """When each milestone was reached; None until then."""

    created_at: datetime | None
    accepted_at: datetime | None
    queued_at: datetime | None
    executing_at: datetime | None
    retrying_at: datetime | None
    cancel_requested_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ItemProgress:
    """How far one queue item is."""

    queue_item_id: str
    phone_id: str | None
    account_id: str | None
    status: str
    actions_done: int
    actions_total: int


@dataclass(frozen=True, kw_only=True)
class PartialProgress:
    """How far all items are."""

    items_total: int
    items_completed: int
    items_failed: int
    items_cancelled: int
    items: tuple[ItemProgress, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """Everything a caller may know about a process."""

    process_id: str
    process_type: str
    request_id: str | None
    status: str
    account_id: str | None
    phone_id: str | None
    requested_by: RequestedBy
    callback: Callback | None
    result: dict[str, Any]
    error: ProcessError | None
    timestamps: Timestamps
    queue_item_ids: tuple[str, ...]
    completed_queue_item_ids: tuple[str, ...]
    partial_progress: PartialProgress | None


def instant(moment: datetime | None) -> str | None:
    """Return *moment* as ISO-8601 in UTC with milliseconds and `Z`; None stays None."""
    if moment is None:
        return None
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    )


def render(record: ProcessRecord) -> dict[str, Any]:
    """Return exactly the keys of the contract, in its order."""
    who, callback = record.requested_by, record.callback
    times = record.timestamps
    return {
        "process_id": record.process_id,
        "process_type": record.process_type,
        "request_id": record.request_id,
        "status": record.status,
        "target": {"account_id": record.account_id, "phone_id": record.phone_id},
        "requested_by": {"system": who.system, "user": who.user, "metadata": who.metadata},
        "callback": callback and {"url": callback.url, "metadata": callback.metadata},
        "result": record.result,
        "error": record.error and _error(record.error),
        "timestamps": {
            "created_at": instant(times.created_at),
            "accepted_at": instant(times.accepted_at),
            "queued_at": instant(times.queued_at),
            "executing_at": instant(times.executing_at),
            "retrying_at": instant(times.retrying_at),
            "cancel_requested_at": instant(times.cancel_requested_at),
            "finished_at": instant(times.finished_at),
        },
        "linked_ids": {
            "queue_item_ids": list(record.queue_item_ids),
            "completed_queue_item_ids": list(record.completed_queue_item_ids),
        },
        "partial_progress": _progress(record.partial_progress),
    }


def _error(error: ProcessError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "class": error.failure_class,
        "queue_item_id": error.queue_item_id,
        "action": error.action,
        "attempt": error.attempt,
    }


def _progress(progress: PartialProgress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    return {
        "items_total": progress.items_total,
        "items_completed": progress.items_completed,
        "items_failed": progress.items_failed,
        "items_cancelled": progress.items_cancelled,
        "items": [
            {
                "queue_item_id": item.queue_item_id,
                "phone_id": item.phone_id,
                "account_id": item.account_id,
                "status": item.status,
                "actions_done": item.actions_done,
                "actions_total": item.actions_total,
            }
            for item in progress.items
        ],
    }
