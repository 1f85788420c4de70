"""Response models of what callers read of their work: processes, evidence, callbacks."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import (
    DeliveryState,
    Instant,
    ItemState,
    Milestone,
    Object,
    ProcessStatus,
    ResponseModel,
    Uuid,
)
from phonefarm.schemas.process_record import (
    DeadlineAt,
    DeadlineGiven,
    ProcessError,
    ProcessRecord,
)
from pydantic import Field


class ProcessList(ResponseModel):
    """A page of processes, newest first."""

    processes: tuple[ProcessRecord, ...]
    next_cursor: Annotated[str | None, Field(description="null on the last page")]


class Transition(ResponseModel):
    """One transition of the process, or of one of its items."""

    number: Annotated[
        int, Field(description="A number that rises with each transition of the process")
    ]
    at: Instant
    queue_item_id: Annotated[Uuid | None, Field(description="null for the process itself")]
    from_state: Annotated[str | None, Field(description="null for its creation")]
    to_state: str
    actor: Annotated[
        str,
        Field(
            description=(
                "Who caused the transition: `controller`, or a name that begins with `caller:`, "
                "`agent:` or `operator:`"
            )
        ),
    ]
    reason: str
    attempt: int
    phone_id: str | None
    account_id: str | None


class Timeline(ResponseModel):
    """Every transition, oldest first."""

    process_id: Uuid
    transitions: tuple[Transition, ...]
    truncated: Annotated[bool, Field(description="True if older entries are not in the list")]


class ProcessEvent(ResponseModel):
    """The data of one server-sent event; the `id` is the number of its newest transition."""

    emitted_at: Instant
    process: ProcessRecord
    transitions: tuple[Transition, ...]


class ReasonCount(ResponseModel):
    """A reason, the number of items or phones that it blocks, and its remedy."""

    reason: str
    count: int
    remedy: str


class PhoneReason(ResponseModel):
    """Why the item cannot run on this phone."""

    phone_id: str
    reason: str
    detail: str


class ItemExplanation(ResponseModel):
    """Why one item waits; if there are no reasons, a controller is about to claim the item."""

    queue_item_id: Uuid
    status: ItemState
    ready_at: Instant | None
    deadline_at: DeadlineAt
    deadline_given: DeadlineGiven
    items_ahead: int
    reasons: tuple[ReasonCount, ...]
    phones: tuple[PhoneReason, ...]


class Explanation(ResponseModel):
    """Why a process waits now."""

    process_id: Uuid
    status: ProcessStatus
    summary: str
    reasons: tuple[ReasonCount, ...]
    items: tuple[ItemExplanation, ...]


class PlannedAction(ResponseModel):
    """One action of an item's plan, with its status in the latest attempt."""

    index: int
    kind: str
    limit_seconds: float
    repeat: str
    status: str


class Attempt(ResponseModel):
    """One attempt: a run."""

    attempt: int
    run_id: Uuid
    phone_id: str | None
    account_id: str | None
    agent_id: str | None
    status: str
    outcome: str | None
    container: str | None
    claimed_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None


class QueueItem(ResponseModel):
    """One queue item, with its plan, attempts and outputs."""

    queue_item_id: Uuid
    process_id: Uuid
    process_type: str
    status: ItemState
    priority: int
    created_at: Instant | None
    ready_at: Instant | None
    deadline_at: DeadlineAt
    deadline_given: DeadlineGiven
    finished_at: Instant | None
    phone_id: str | None
    account_id: str | None
    app: str | None
    profile_version: str | None
    attempt: int
    work_failures: int
    infra_failures: int
    actions: tuple[PlannedAction, ...]
    attempts: tuple[Attempt, ...]
    error: ProcessError | None
    outputs: Object


class DeliveryAttempt(ResponseModel):
    """One attempt at a callback."""

    attempt: int
    ended_at: Instant | None
    outcome: str
    http_status: Annotated[int | None, Field(description="null if the receiver did not respond")]
    error: str | None
    gateway_id: str


class Delivery(ResponseModel):
    """One callback, and the attempts to send it."""

    delivery_id: str
    sequence: int
    milestone: Milestone
    url: str
    status: Annotated[
        DeliveryState,
        Field(
            description=(
                "`dead`: the farm gave up after 24 hours; `stopped`: the receiver responded with "
                "410"
            ),
        ),
    ]
    attempts: int
    emitted_at: Instant | None
    due_at: Instant | None
    settled_at: Instant | None
    last_error: str | None
    log: Annotated[
        tuple[DeliveryAttempt, ...], Field(description="The latest attempts, oldest first")
    ]


class DeliveryList(ResponseModel):
    """A process's callbacks, oldest first."""

    process_id: Uuid
    deliveries: tuple[Delivery, ...]


class FailingReceiver(ResponseModel):
    """A receiver that does not accept its callbacks; the farm will try again."""

    receiver: Annotated[str, Field(description="Scheme, host and port")]
    waiting: Annotated[
        int,
        Field(description="Number of callbacks that the farm has not delivered to this receiver"),
    ]
    since: Annotated[
        Instant, Field(description="Time at which the oldest of these callbacks was created")
    ]
    process_id: Annotated[Uuid, Field(description="The process of the oldest of these callbacks")]
    error: Annotated[
        str, Field(description="Why the last attempt to send the oldest callback failed")
    ]


class FailingReceiverList(ResponseModel):
    """The receivers that do not accept their callbacks; the longest failing one is first."""

    receivers: tuple[FailingReceiver, ...]


class Replayed(ResponseModel):
    """The callbacks that the farm will send again."""

    process_id: Uuid
    sequences: tuple[int, ...]


class Evidence(ResponseModel):
    """One file of a run's evidence."""

    evidence_id: str
    queue_item_id: Uuid | None
    run_id: Uuid
    attempt: int
    name: str
    kind: str
    bytes: int
    sha256: str
    truncated: bool
    action_index: Annotated[
        int | None, Field(description="null if the file belongs to the whole run")
    ]
    received_at: Instant | None
    removed_at: Annotated[
        Instant | None,
        Field(description="Time at which retention removed the file; this entry remains"),
    ]
    removed_why: str | None
    url: Annotated[str, Field(description="The file's URL, relative to the URL of this response")]


class RunEvidence(ResponseModel):
    """Whether all evidence of an attempt has arrived."""

    run_id: Uuid
    queue_item_id: Uuid | None
    attempt: int
    complete: Annotated[
        bool,
        Field(
            description=(
                "True when the manifest has arrived. The manifest comes last and names every "
                "file, including missing files"
            )
        ),
    ]


class EvidenceList(ResponseModel):
    """The evidence of a process's runs."""

    process_id: Uuid
    evidence: tuple[Evidence, ...]
    runs: tuple[RunEvidence, ...]


class AppVerification(ResponseModel):
    """Whether a capability is live verified with the app's current profile."""

    app: str
    profile_version: str
    live_verified: bool
    verified_at: Instant | None
    verified_by: str | None
    run_id: str | None
    process_id: str | None


class Capability(ResponseModel):
    """A kind of work that callers can enqueue."""

    name: str
    description: str
    modes: tuple[str, ...]
    routings: tuple[str, ...]
    endpoint: str
    inputs_schema: Annotated[Object, Field(description="A JSON Schema (2020-12)")]
    can_be_verified: bool
    apps: tuple[AppVerification, ...]


class CapabilityList(ResponseModel):
    """All capabilities."""

    capabilities: tuple[Capability, ...]


class Session(ResponseModel):
    """The name and scopes of a request's key."""

    name: Annotated[
        str, Field(description="The name of the key; `ingest_secret` is the farm's own key")
    ]
    scopes: Annotated[tuple[str, ...], Field(description="What the key may do")]
    expires_at: Annotated[
        Instant | None,
        Field(
            description=(
                "Time at which the login to the console expires; null if the request has a key"
            )
        ),
    ]


class Ticket(ResponseModel):
    """A ticket that can be used once instead of a key."""

    ticket: Annotated[
        str, Field(description="The ticket, which works once, and only at this gateway")
    ]
    expires_at: Instant


class Alive(ResponseModel):
    """The gateway is running."""

    status: Literal["ok"]


class Ready(ResponseModel):
    """The controller answers and accepts this gateway."""

    status: Literal["ready"]


class FieldError(ResponseModel):
    """One wrong field."""

    field: str
    message: str


class ProblemDocument(ResponseModel):
    """An error, as RFC 9457 defines it."""

    type: str
    title: str
    status: int
    detail: str
    error: Annotated[
        str, Field(description="`<reason>` or `<reason>:<detail>`, for programs to compare")
    ]
    errors: Annotated[
        tuple[FieldError, ...],
        Field(description="Every invalid field; included only with status 422"),
    ]
