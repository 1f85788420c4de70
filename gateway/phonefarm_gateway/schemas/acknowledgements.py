"""What requests for work are answered."""

from typing import Annotated, Literal

from pydantic import Field

from phonefarm_gateway.schemas.fields import Answer, Instant, ItemState, StatusWord, Uuid


class Accepted(Answer):
    """It is committed."""

    status: Literal["accepted"]
    process_id: Uuid
    request_id: str
    process_type: str


class Duplicate(Answer):
    """It had been accepted before; the first stands."""

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
            description="Present, and true, when this body differs from the first",
        ),
    ] = False


class DryRun(Answer):
    """It would have been accepted."""

    status: Literal["dry_run"]
    process_id: None
    request_id: str
    process_type: str
    items_planned: int


class ActiveTarget(Answer):
    """The first item that is still at work; its ids are null when there is none."""

    process_id: Uuid
    phone_id: str | None
    account_id: str | None
    queue_item_id: Uuid | None
    capability_request_id: Uuid


class Termination(Answer):
    """What was done about the run."""

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


class CancelledProcess(Answer):
    """The process after it."""

    process_id: Uuid
    status: StatusWord


class Cancelled(Answer):
    """The outcome of a cancel; the keys are always the same."""

    status: Literal["cancel_requested", "ignored_terminal"]
    cancelled_queue_item_ids: tuple[Uuid, ...]
    active_queue_item_ids: tuple[Uuid, ...]
    active_target: ActiveTarget
    termination: Termination
    process: CancelledProcess


class Ingested(Answer):
    """The content is in the queue: now, or it was before."""

    status: Literal["accepted", "duplicate"]
    queue_item_id: Uuid
    content_id: str
    account_id: str
    queue_status: ItemState


class ContentCancelled(Answer):
    """The content will not be posted."""

    status: Literal["cancelled"]
    queue_item_id: Uuid
    previous_status: ItemState


class SnapshotUpserted(Answer):
    """The snapshot is the account's latest."""

    status: Literal["upserted"]
    account_id: str
    snapshot_id: str
    strategy_version: int
    strategy_synced_at: Instant


class SnapshotIgnored(Answer):
    """A newer snapshot was there already."""

    status: Literal["ignored_stale"]
    account_id: str
    snapshot_id: str
    strategy_version: int
