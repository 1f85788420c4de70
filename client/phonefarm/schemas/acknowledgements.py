"""Response models of requests that submit, cancel or store something."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import Instant, ItemState, ResponseModel, StatusWord, Uuid
from pydantic import Field


class Accepted(ResponseModel):
    """The request was accepted; its process is committed."""

    status: Literal["accepted"]
    process_id: Uuid
    request_id: str
    process_type: str


class Duplicate(ResponseModel):
    """The request had been accepted before; the first process stands."""

    status: Literal["accepted"]
    process_id: Uuid
    request_id: str
    process_type: str
    duplicate: Literal[True]
    process_status: StatusWord
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
    """The request would have been accepted; nothing was created."""

    status: Literal["dry_run"]
    process_id: None
    request_id: str
    process_type: str
    items_planned: int


class ActiveTarget(ResponseModel):
    """The first item that is still active; its ids are null when there is none."""

    process_id: Uuid
    phone_id: str | None
    account_id: str | None
    queue_item_id: Uuid | None
    capability_request_id: Uuid


class Termination(ResponseModel):
    """How the run of that item is being ended."""

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
    """The process after the cancel."""

    process_id: Uuid
    status: StatusWord


class Cancelled(ResponseModel):
    """The outcome of a cancel; the keys are always the same."""

    status: Literal["cancel_requested", "ignored_terminal"]
    cancelled_queue_item_ids: tuple[Uuid, ...]
    active_queue_item_ids: tuple[Uuid, ...]
    active_target: ActiveTarget
    termination: Termination
    process: CancelledProcess


class Ingested(ResponseModel):
    """The video is in the queue: since now, or since an earlier request."""

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
