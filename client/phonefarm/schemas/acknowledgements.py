"""Response models of requests that submit, cancel or store something."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import Instant, ItemState, ProcessStatus, ResponseModel, Uuid
from pydantic import Field


class Accepted(ResponseModel):
    """The farm has accepted the request and stored its process."""

    status: Literal["accepted"]
    process_id: Uuid
    request_id: str
    process_type: str


class Duplicate(ResponseModel):
    """The farm had already accepted the request; the first process is the valid one."""

    status: Literal["accepted"]
    process_id: Uuid
    request_id: str
    process_type: str
    duplicate: Literal[True]
    process_status: ProcessStatus
    request_differs: Annotated[
        bool,
        Field(
            exclude_if=lambda differs: not differs,
            description=(
                "True if this body differs from the body of the first request; otherwise absent"
            ),
        ),
    ] = False


class DryRun(ResponseModel):
    """The farm would have accepted the request; it created nothing."""

    status: Literal["dry_run"]
    process_id: None
    request_id: str
    process_type: str
    items_planned: int


class ActiveTarget(ResponseModel):
    """The first item that is still active; the ids are null if no item is active."""

    process_id: Uuid
    phone_id: str | None
    account_id: str | None
    queue_item_id: Uuid | None
    capability_request_id: Uuid


class Termination(ResponseModel):
    """How the farm ends the run of the active item."""

    process_id: Uuid
    status: Annotated[
        str,
        Field(
            json_schema_extra={
                "enum": ["not_needed", "requested", "scheduled", "issued", "agent_unreachable"]
            }
        ),
    ]
    terminate_issued: bool
    container: str | None


class CancelledProcess(ResponseModel):
    """The process after the cancellation."""

    process_id: Uuid
    status: ProcessStatus


class Cancelled(ResponseModel):
    """The outcome of a cancellation; the keys are always the same."""

    status: Literal["cancel_requested", "ignored_terminal"]
    cancelled_queue_item_ids: tuple[Uuid, ...]
    active_queue_item_ids: tuple[Uuid, ...]
    active_target: ActiveTarget
    termination: Termination
    process: CancelledProcess


class Ingested(ResponseModel):
    """The video is in the queue, because of this request or an earlier one."""

    status: Literal["accepted", "duplicate"]
    queue_item_id: Uuid
    content_id: str
    account_id: str
    queue_status: ItemState


class ContentCancelled(ResponseModel):
    """The video will not be posted."""

    status: Literal["cancelled"]
    queue_item_id: Uuid
    previous_status: ItemState


class SnapshotUpserted(ResponseModel):
    """The snapshot is stored as the account's latest."""

    status: Literal["upserted"]
    account_id: str
    snapshot_id: str
    strategy_version: int
    strategy_synced_at: Instant


class SnapshotIgnored(ResponseModel):
    """A newer snapshot was already stored."""

    status: Literal["ignored_stale"]
    account_id: str
    snapshot_id: str
    strategy_version: int
