"""Response models of what callers read of their work: processes, evidence, callbacks."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import (
    Instant,
    ItemState,
    Object,
    ResponseModel,
    StatusWord,
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
    """A page of processes, the newest first."""

    processes: tuple[ProcessRecord, ...]
    next_cursor: Annotated[str | None, Field(description="null on the last page")]


class Transition(ResponseModel):
    """One transition of the process, or of one of its items."""

    number: Annotated[
        int, Field(description="A number that rises with each callback of the process")
    ]
    at: Instant
    queue_item_id: Annotated[Uuid | None, Field(description="null for the process itself")]
    from_state: Annotated[str | None, Field(description="null for its creation")]
    to_state: str
    actor: Annotated[
        str,
        Field(
            description=(
                "Who caused the transition: controller, or a name that begins with caller:, "
                "agent: or operator:"
            )
        ),
    ]
    reason: str
    attempt: int
    phone_id: str | None
    account_id: str | None


class Timeline(ResponseModel):
    """Every transition, the oldest first."""

    process_id: Uuid
    transitions: tuple[Transition, ...]
    truncated: Annotated[bool, Field(description="True if older entries are not in the list")]


class ProcessEvent(ResponseModel):
    """The `data` of one server-sent event; its `id` is the number of its newest transition."""

    emitted_at: Instant
    process: ProcessRecord
    transitions: tuple[Transition, ...]


class ReasonCount(ResponseModel):
    """How many items or phones a reason blocks, and its remedy."""

    reason: str
    count: int
    remedy: str


class PhoneReason(ResponseModel):
    """Why the item cannot run on this phone."""

    phone_id: str
    reason: str
    detail: str


class ItemExplanation(ResponseModel):
    """Why one item waits; without reasons it is about to be claimed."""

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
    status: StatusWord
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
    """One queue item: its plan, its attempts, its outputs."""

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
    http_status: Annotated[int | None, Field(description="null if no answer came")]
    error: str | None
    gateway_id: str


class Delivery(ResponseModel):
    """One callback, and its attempts."""

    delivery_id: str
    sequence: int
    milestone: str
    url: str
    status: Annotated[
        str,
        Field(
            json_schema_extra={"enum": ["pending", "leased", "delivered", "dead", "stopped"]},
            description=(
                "dead: the farm gave up after 24 hours; stopped: the receiver answered 410"
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
    """The callbacks of a process, the oldest first."""

    process_id: Uuid
    deliveries: tuple[Delivery, ...]


class FailingReceiver(ResponseModel):
    """An address that does not take its callbacks; the farm tries again."""

    receiver: Annotated[str, Field(description="Scheme, host and port")]
    waiting: Annotated[int, Field(description="Callbacks that wait for it")]
    since: Annotated[Instant, Field(description="When the oldest of them was made")]
    process_id: Annotated[Uuid, Field(description="The process of the oldest")]
    error: Annotated[str, Field(description="Why its last attempt failed")]


class FailingReceiverList(ResponseModel):
    """The receivers that do not take their callbacks, the longest waiting first."""

    receivers: tuple[FailingReceiver, ...]


class Replayed(ResponseModel):
    """The callbacks that are due again."""

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
    action_index: Annotated[int | None, Field(description="null for the whole run")]
    received_at: Instant | None
    removed_at: Annotated[
        Instant | None,
        Field(description="Time at which retention removed the file; this entry remains"),
    ]
    removed_why: str | None
    url: Annotated[str, Field(description="A URL that is relative to the URL of this answer")]


class RunEvidence(ResponseModel):
    """Whether all evidence of an attempt is here."""

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
    """Whether a capability is live verified with an app's present profile."""

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
    """Whose key a request has."""

    name: Annotated[
        str, Field(description="The name of the key. The farm's own key is named ingest_secret.")
    ]
    scopes: Annotated[tuple[str, ...], Field(description="What the key may do")]
    expires_at: Annotated[
        Instant | None,
        Field(
            description=(
                "Time at which the console asks for the key again; null if the request has a key"
            )
        ),
    ]


class Ticket(ResponseModel):
    """Stands for a key, once."""

    ticket: Annotated[str, Field(description="Counts once, at this gateway")]
    expires_at: Instant


class Alive(ResponseModel):
    """The gateway runs."""

    status: Literal["ok"]


class Ready(ResponseModel):
    """The controller answers and knows this gateway."""

    status: Literal["ready"]


class FieldError(ResponseModel):
    """What is wrong with one field."""

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
        tuple[FieldError, ...], Field(description="Every wrong field; present with status 422")
    ]
