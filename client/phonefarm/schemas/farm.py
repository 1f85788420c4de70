"""Response models of the farm: phones, accounts, groups, hosts, the audit, its event stream."""

from typing import Annotated, Literal

from phonefarm.schemas.fields import (
    Instant,
    PhoneHealth,
    PhoneIntent,
    PhoneLease,
    PhoneReadiness,
    PhoneTransport,
    ProcessStatus,
    ResponseModel,
    Uuid,
)
from phonefarm.schemas.windows import Window
from pydantic import Field


class PhoneBlocker(ResponseModel):
    """One reason why a phone gets no work; `until` is null if the reason does not end by itself."""

    reason: str
    detail: str
    remedy: str
    until: Instant | None


class Phone(ResponseModel):
    """One phone: transport, readiness, health, lease, intent, and what blocks it."""

    phone_id: str
    serialno: str
    adb_serial: str
    model: str
    android_release: str
    agent_id: str
    transport: PhoneTransport
    readiness: PhoneReadiness
    readiness_reason: str
    health: PhoneHealth
    health_reason: str
    lease: PhoneLease
    intent: PhoneIntent
    offered: Annotated[bool, Field(description="True while the agent offers the phone for work")]
    process_id: Uuid | None
    run_id: Uuid | None
    health_until: Annotated[
        Instant | None,
        Field(
            description=(
                "Time at which the health will change by itself, for example when a quarantine ends"
            )
        ),
    ]
    cooling_until: Annotated[
        Instant | None, Field(description="Time until which the phone gets no work after a failure")
    ]
    needs_hands: Annotated[
        str,
        Field(
            description="What a person must do at the phone; empty if nobody needs to do anything"
        ),
    ]
    reasons: Annotated[
        tuple[PhoneBlocker, ...],
        Field(
            description=(
                "All reasons why the phone gets no work now; empty while the phone is offered"
            )
        ),
    ]
    needs_hands_since: Instant | None
    since: Annotated[
        Instant | None,
        Field(
            description="Time of the last change of transport, readiness, health, lease or intent"
        ),
    ]
    process_type: Annotated[
        str | None, Field(description="Type of the process that drives the phone")
    ]
    account_id: Annotated[str | None, Field(description="Account that the process uses")]
    lease_epoch: Annotated[
        int | None,
        Field(description="The epoch of the phone's lease; a `release` request must contain it"),
    ]
    agent_connected: bool
    agent_drain: Annotated[
        str, Field(description="Who drained the phone's host, and why; empty if nobody did")
    ]
    warnings: Annotated[
        tuple[str, ...],
        Field(
            description=(
                "What the farm can no longer do until this phone gets work again; always empty in "
                "a list of phones"
            )
        ),
    ]


class PhoneCounts(ResponseModel):
    """Numbers of phones; each phone counts as offered, at_work or withheld."""

    total: int
    offered: int
    at_work: Annotated[int, Field(description="Number of phones that a run or a person is using")]
    withheld: int
    needs_hands: Annotated[int, Field(description="Number of phones at which a person must act")]


class PhoneList(ResponseModel):
    """Every phone."""

    phones: tuple[Phone, ...]
    counts: PhoneCounts


class PhoneAxis(ResponseModel):
    """One of a phone's five axes: its value, the reason, since when, and who set it."""

    axis: str
    value: str
    reason: str
    since: Instant | None
    by: str


class ReadinessStage(ResponseModel):
    """One question that the agent asks the phone before it is ready, and the answer."""

    name: str
    state: str
    seconds: float
    limit_seconds: float
    error: str


class PhoneFailure(ResponseModel):
    """What went wrong with the phone in one run."""

    at: Instant | None
    blame: str
    code: str
    message: str
    run_id: str
    process_id: str
    counts: Annotated[bool, Field(description="True if the failure counts towards a quarantine")]


class Incident(ResponseModel):
    """One cause that affects many phones on a host."""

    agent_id: str
    incident_id: str
    kind: str
    error: str
    began_at: Instant | None
    ended_at: Annotated[
        Instant | None,
        Field(description="Time at which the incident ended; null if it has not ended"),
    ]
    phones: tuple[str, ...]
    seen_by: Annotated[str, Field(description="Who noticed the incident: agent or controller")]


class IncidentList(ResponseModel):
    """The current incidents, and those that ended within the last hour."""

    incidents: tuple[Incident, ...]


class Host(ResponseModel):
    """The host of a phone."""

    agent_id: str
    connected: bool
    heard_at: Instant | None
    withheld: Annotated[
        str,
        Field(
            description="Why the agent offers none of its phones; empty if the agent offers phones"
        ),
    ]
    withheld_since: Instant | None
    incidents: Annotated[
        tuple[Incident, ...],
        Field(description="The current incidents, then the others, newest first"),
    ]


class AuditEntry(ResponseModel):
    """Who did what to whom, and why."""

    at: Instant | None
    actor: str
    verb: str
    subject: str
    reason: str


class AuditList(ResponseModel):
    """A page of the audit, newest first."""

    entries: tuple[AuditEntry, ...]
    next_cursor: Annotated[str | None, Field(description="null on the last page")]


class PhoneDetails(ResponseModel):
    """Everything that the farm knows about a phone; each history begins with the newest entry."""

    phone: Phone
    axes: tuple[PhoneAxis, ...]
    stages: tuple[ReadinessStage, ...]
    battery_percent: int | None
    battery_celsius: float | None
    storage_free_bytes: int | None
    looked_at: Instant | None
    rounds: Annotated[int, Field(description="Number of quarantines because of failures")]
    failures: tuple[PhoneFailure, ...]
    host: Host
    recovery: tuple[AuditEntry, ...]
    audit: tuple[AuditEntry, ...]
    windows: Annotated[
        tuple[Window, ...],
        Field(description="The windows of the phone, its groups and its accounts"),
    ]


class HandsNeeded(ResponseModel):
    """What a person must do, and where."""

    phone_id: Annotated[str | None, Field(description="null if the device is not identified")]
    agent_id: str
    adb_serial: str
    reason: str
    since: Instant | None


class HandsNeededList(ResponseModel):
    """What a person must do, by host and phone."""

    needed: tuple[HandsNeeded, ...]


class Hold(ResponseModel):
    """A person's reservation of a phone; it is a process of one item."""

    process_id: Uuid
    phone_id: str
    agent_id: str | None
    state: Annotated[
        str,
        Field(
            description=(
                "QUEUED or CLAIMED while the hold waits, EXECUTING while the phone is held"
            )
        ),
    ]
    address: Annotated[
        str | None,
        Field(
            description=(
                "HOST:PORT of the phone's adb server on the phone's host, while the phone is held"
            )
        ),
    ]
    until: Instant | None
    why: Annotated[str, Field(description="Why the hold ended early")]


class Account(ResponseModel):
    """One account."""

    account_id: str
    phone_id: str | None
    app: str
    active: bool
    condition: Literal["ok", "needs_attention"]
    condition_reason: str


class AccountList(ResponseModel):
    """Every account, or the accounts that the request created or replaced."""

    accounts: tuple[Account, ...]


CleanUpStepWord = Literal["stop_apps", "remove_added", "home"]


class Group(ResponseModel):
    """A group of phones or of accounts."""

    kind: Literal["phone", "account"]
    name: str
    member_ids: tuple[str, ...]
    clean_up: Annotated[
        tuple[str, ...] | None,
        Field(
            description=(
                "Clean-up steps after each run on the group's phones; null if the group does not "
                "set any"
            )
        ),
    ]


class GroupList(ResponseModel):
    """Every group, by kind and name."""

    groups: tuple[Group, ...]


class Agent(ResponseModel):
    """The agent of one host."""

    agent_id: str
    version: str
    runtime: str
    connected: bool
    last_heartbeat_at: Instant | None
    phones: int
    certificate_expires_at: Instant | None
    drain_since: Annotated[Instant | None, Field(description="null if the agent is not drained")]
    drain_by: str
    drain_reason: str


class AgentList(ResponseModel):
    """Every agent."""

    agents: tuple[Agent, ...]


class Undrained(ResponseModel):
    """The host gets work again."""

    agent_id: str
    undrained: Annotated[bool, Field(description="false if the agent was not drained")]


class Invitation(ResponseModel):
    """A token with which one host can join, once; only this response shows it."""

    role: Literal["agent", "gateway"]
    member_id: str | None
    token: str
    expires_at: Instant | None


class MemberRevoked(ResponseModel):
    """The farm has revoked a member's certificates."""

    role: Literal["agent", "gateway"]
    member_id: str
    certificates: Annotated[
        int, Field(description="Number of revoked certificates that were still valid")
    ]


class FarmReset(ResponseModel):
    """Earlier changes are not sent: read the lists again."""

    reason: Annotated[str, Field(description="connected, too_old or too_slow")]


class ProcessMoved(ResponseModel):
    """A process in which something changed: its entry in the list, and the newest transition."""

    process_id: Uuid
    process_type: str
    request_id: str | None
    system: str
    status: ProcessStatus
    created_at: Instant | None
    finished_at: Instant | None
    at: Instant | None
    queue_item_id: Annotated[
        Uuid | None, Field(description="null if this is a transition of the process itself")
    ]
    to_state: str
    actor: str
    reason: str
    phone_id: str | None
    account_id: str | None
