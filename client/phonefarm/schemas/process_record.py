"""The process record: one model and one renderer for GET and for callbacks."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import (
    FailureClass,
    Instant,
    ItemState,
    Object,
    ProcessStatus,
    ResponseModel,
    Uuid,
)
from pydantic import Field


class RecordTarget(ResponseModel):
    """Where the process runs; both fields are null for a group, unless the process has one item."""

    account_id: str | None
    phone_id: str | None


class RecordRequestedBy(ResponseModel):
    """Who requested the process."""

    system: str
    user: str | None
    metadata: Object


class RecordCallback(ResponseModel):
    """Where the caller receives events."""

    url: str
    metadata: Object


class ProcessError(ResponseModel):
    """Why the process or item failed."""

    code: str
    message: str
    failure_class: Annotated[FailureClass, Field(alias="class")]
    queue_item_id: Uuid | None
    action: str | None
    attempt: int


class Timestamps(ResponseModel):
    """When each milestone was reached; null until then."""

    created_at: Instant | None
    accepted_at: Instant | None
    queued_at: Instant | None
    executing_at: Instant | None
    retrying_at: Annotated[
        Instant | None, Field(description="Time at which the next attempt is due")
    ]
    cancel_requested_at: Instant | None
    finished_at: Instant | None


class LinkedIds(ResponseModel):
    """The queue items of the process."""

    queue_item_ids: tuple[Uuid, ...]
    completed_queue_item_ids: tuple[Uuid, ...]


DeadlineAt = Annotated[
    Instant | None,
    Field(
        description="The latest time at which the first action may begin; an item that waits "
        "longer ends. null if the item may wait forever"
    ),
]
DeadlineGiven = Annotated[
    bool,
    Field(
        description="True if the caller gave the deadline. False if the deadline is the farm's own "
        "limit on waiting: while a pause holds the item back, this limit does not run, and when "
        "the pause ends, the deadline moves"
    ),
]


class ItemProgress(ResponseModel):
    """The progress of one queue item."""

    queue_item_id: Uuid
    phone_id: str | None
    account_id: str | None
    status: ItemState
    actions_done: int
    actions_total: int
    deadline_at: DeadlineAt
    deadline_given: DeadlineGiven


class PartialProgress(ResponseModel):
    """The progress of all items."""

    items_total: int
    items_completed: int
    items_failed: int
    items_cancelled: int
    items: tuple[ItemProgress, ...]


class NoProgress(ResponseModel):
    """The progress of a process before its items are known."""


TraceId = Annotated[
    str | None,
    Field(
        pattern="^[0-9a-f]{32}$",
        description="The trace of the process (W3C Trace Context); null if it has no trace",
    ),
]


Outcome = Annotated[
    Literal["completed", "partial", "failed", "cancelled"] | None,
    Field(
        description="How the process ended; null until then. `partial` means that some items are "
        "completed and others failed: the status is then failed_terminal"
    ),
]


class ProcessRecord(ResponseModel):
    """Everything that callers can know about a process."""

    process_id: Uuid
    process_type: str
    request_id: Annotated[str | None, Field(description="null for an ingest")]
    status: ProcessStatus
    target: RecordTarget
    requested_by: RecordRequestedBy
    callback: RecordCallback | None
    result: Object
    error: ProcessError | None
    timestamps: Timestamps
    linked_ids: LinkedIds
    partial_progress: PartialProgress | NoProgress
    trace_id: TraceId
    outcome: Outcome
