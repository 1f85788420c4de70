"""Response models of operation: pauses, keys, the doctor, verifications, reruns."""

from typing import Annotated

from phonefarm.schemas.fields import DeliveryState, Instant, ResponseModel, Uuid, Verdict
from pydantic import Field


class Pause(ResponseModel):
    """The work that a pause holds back."""

    scope: str
    name: Annotated[
        str | None, Field(description="Name of the app, account or capability; null for all work")
    ]
    since: Instant | None
    by: str
    reason: str


class Paused(Pause):
    """A pause, the number of runs that it stops, and its effect on waiting items."""

    stopped: int
    waiting: Annotated[int, Field(description="Number of waiting items in the scope")]
    deadlines_soon: Annotated[
        int,
        Field(
            description="Number of these items that reach their caller's deadline within the next "
            "24 hours. The pause does not change these deadlines. During the pause, the farm's own "
            "limit on waiting does not run"
        ),
    ]
    first_deadline_at: Annotated[
        Instant | None, Field(description="The first of these deadlines; null if there are none")
    ]


class PauseList(ResponseModel):
    """Every pause."""

    pauses: tuple[Pause, ...]


class Resumed(ResponseModel):
    """The pause has ended."""

    scope: str
    name: str | None
    resumed: Annotated[bool, Field(description="false if this scope was not paused")]


class ApiKey(ResponseModel):
    """An API key, without its secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: Instant | None
    created_by: str
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None


class NewApiKey(ApiKey):
    """A new key with its secret; only this response shows the secret."""

    secret: str


class ApiKeyList(ResponseModel):
    """The valid keys, ordered by name, then the revoked keys, newest first."""

    keys: tuple[ApiKey, ...]


class Finding(ResponseModel):
    """One check of the farm."""

    check: str
    verdict: Annotated[
        Verdict, Field(description="`ok`, `warn` (work continues) or `fail` (work has stopped)")
    ]
    text: str
    remedy: Annotated[str, Field(description="Empty if the verdict is ok")]


class Examination(ResponseModel):
    """The state of a controller and its farm."""

    verdict: Annotated[Verdict, Field(description="The worst verdict of all findings")]
    summary: Annotated[
        str,
        Field(
            description=(
                "One line that counts phones and hosts; empty while the database does not answer"
            )
        ),
    ] = ""
    findings: tuple[Finding, ...]


class AlertEvent(ResponseModel):
    """An event that reports alerts, and the state of its delivery."""

    sequence: int
    delivery_id: str
    event_type: str
    text: Annotated[str, Field(description="The event in one line")]
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


class AlertEventList(ResponseModel):
    """The newest events that report alerts; the newest one is first."""

    receiver: Annotated[
        str | None,
        Field(description="Scheme, host and port of the alert URL; null if none is set"),
    ]
    events: tuple[AlertEvent, ...]


class VerificationStarted(ResponseModel):
    """The process of a verification or of a profile check."""

    process_id: Uuid


class Verification(ResponseModel):
    """A capability is live verified with one version of an app profile."""

    capability: str
    app: str
    profile_version: str
    run_id: str
    process_id: str
    phone_id: str
    verified_by: str
    verified_at: Instant | None


class Rerun(ResponseModel):
    """The process that repeats another process's request."""

    process_id: Uuid
    request_id: str | None
    items: int
    already: Annotated[bool, Field(description="True if an earlier request created the process")]
