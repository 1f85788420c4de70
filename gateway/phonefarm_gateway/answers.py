"""What the controller said to a call, and how callers read it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The outcome of an enqueue; no process_id for a dry run."""

    process_id: str | None
    request_id: str
    process_type: str
    duplicate: bool
    process_status: str
    request_differs: bool
    items_planned: int


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The outcome of a cancel; phone, account and item are of the first active item."""

    status: str
    cancelled_queue_item_ids: tuple[str, ...]
    active_queue_item_ids: tuple[str, ...]
    phone_id: str | None
    account_id: str | None
    queue_item_id: str | None
    termination_status: str
    terminate_issued: bool
    container: str | None
    process_id: str
    process_status: str


def render_accepted(answer: Accepted) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and body: 202 created, 200 for a duplicate or a dry run."""
    body: dict[str, Any] = {
        "status": "accepted",
        "process_id": answer.process_id,
        "request_id": answer.request_id,
        "process_type": answer.process_type,
    }
    if answer.process_id is None:
        return 200, body | {"status": "dry_run", "items_planned": answer.items_planned}
    if not answer.duplicate:
        return 202, body
    body |= {"duplicate": True, "process_status": answer.process_status}
    if answer.request_differs:
        body["request_differs"] = True
    return 200, body


def render_cancelled(answer: Cancelled) -> dict[str, Any]:
    """Return the body of the answer to a cancel; the keys are always the same."""
    return {
        "status": answer.status,
        "cancelled_queue_item_ids": list(answer.cancelled_queue_item_ids),
        "active_queue_item_ids": list(answer.active_queue_item_ids),
        "active_target": {
            "process_id": answer.process_id,
            "phone_id": answer.phone_id,
            "account_id": answer.account_id,
            "queue_item_id": answer.queue_item_id,
            "capability_request_id": answer.process_id,
        },
        "termination": {
            "process_id": answer.process_id,
            "status": answer.termination_status,
            "terminate_issued": answer.terminate_issued,
            "container": answer.container,
        },
        "process": {"process_id": answer.process_id, "status": answer.process_status},
    }
