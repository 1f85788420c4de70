"""Types of values in requests and answers, and the base classes of their models."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

MOST_NAMED: Final = 1000
LARGEST_COUNT: Final = 2**63 - 1

# The key (process_type, requested_by.system, request_id) must fit PostgreSQL's 2,704 index bytes.
RequestId = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Url = Annotated[
    str,
    Field(min_length=1, max_length=2048, description="An http or https URL of a public address"),
]
Names = Annotated[list[Name], Field(max_length=MOST_NAMED, fail_fast=True)]
Object: TypeAlias = dict[str, Any]

PublicStatus: TypeAlias = Literal[
    "queued", "executing", "retrying", "completed", "failed_terminal", "cancelled"
]
TERMINAL_STATUSES: Final = frozenset({"completed", "failed_terminal", "cancelled"})
"""The public statuses of a process that has ended."""

# Words of responses. The gateway passes on an unknown one of a newer controller, so they are
# checked by nobody; TypeAliasType gives each a name of its own in the OpenAPI document.


def _word(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(words)})


ProcessStatus = TypeAliasType("ProcessStatus", Annotated[str, _word(*get_args(PublicStatus))])
"""The public status of a process."""

Milestone = TypeAliasType(
    "Milestone",
    Annotated[
        str,
        _word(
            *("accepted", "executing", "retrying", "cancel_requested"),
            *("completed", "failed_terminal", "cancelled"),
        ),
    ],
)
"""What a callback reports."""

ItemState = TypeAliasType(
    "ItemState",
    Annotated[
        str,
        _word(
            *("QUEUED", "SCHEDULED", "CLAIMED", "EXECUTING"),
            *("RETRYABLE", "DONE", "DEAD_LETTER", "CANCELLED"),
        ),
    ],
)
"""The state of a queue item."""

FailureClass = TypeAliasType(
    "FailureClass", Annotated[str, _word("work", "infra", "account", "expired", "cancelled")]
)
"""What kind of failure ended the work."""

DeliveryState = TypeAliasType(
    "DeliveryState", Annotated[str, _word("pending", "leased", "delivered", "dead", "stopped")]
)
"""The state of a callback that must be sent."""

PhoneTransport = TypeAliasType(
    "PhoneTransport",
    Annotated[
        str,
        _word(
            *("absent", "offline", "unauthorized"),
            *("no_permission", "recovery", "bootloader", "online"),
        ),
    ],
)
"""How adb reaches a phone."""

PhoneReadiness = TypeAliasType(
    "PhoneReadiness",
    Annotated[str, _word("unknown", "preparing", "ready", "unfit", "cooling")],
)
"""Whether a phone can do work, as far as its agent knows."""

PhoneHealth = TypeAliasType(
    "PhoneHealth", Annotated[str, _word("good", "suspect", "quarantined", "retired")]
)
"""What the controller thinks of a phone."""

PhoneLease = TypeAliasType(
    "PhoneLease", Annotated[str, _word("free", "leased", "releasing", "dirty")]
)
"""Who may drive a phone: nobody, a run, or nobody until the phone is clean again."""

PhoneIntent = TypeAliasType(
    "PhoneIntent", Annotated[str, _word("new", "in_service", "maintenance", "draining")]
)
"""What the operator wants of a phone."""

WindowScope = TypeAliasType(
    "WindowScope", Annotated[str, _word("account", "phone", "group", "capability")]
)
"""What a window is for."""

FiringOutcome = TypeAliasType(
    "FiringOutcome", Annotated[str, _word("enqueued", "missed", "overlapped", "refused")]
)
"""What came of an instant of a schedule."""

LimitKind = TypeAliasType(
    "LimitKind",
    Annotated[str, _word("runs_per_day", "seconds_between_runs", "runs_at_once")],
)
"""What a limit counts."""

LimitScope = TypeAliasType(
    "LimitScope", Annotated[str, _word("account", "every_account", "group", "app", "agent")]
)
"""Whose runs a limit counts."""

Verdict = TypeAliasType("Verdict", Annotated[str, _word("ok", "warn", "fail")])
"""How one check of the farm ended."""

Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]


def _moment(value: object) -> object:
    """Parse ISO-8601 with a zone; pydantic's own parser also takes numbers and naive times."""
    if value is None or (isinstance(value, datetime) and value.tzinfo is not None):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("must be an ISO-8601 time such as 2026-01-31T12:00:00Z")
    if moment.tzinfo is None:
        raise ValueError("has no time zone; append Z for UTC or an offset such as +02:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time in a request."""


def instant(moment: datetime) -> str:
    """Return *moment* as ISO-8601 in UTC with milliseconds and `Z`."""
    # isoformat cuts off what is below a millisecond, and writes every year with four digits.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


Instant = Annotated[
    datetime,
    PlainSerializer(instant, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
            "description": "UTC, milliseconds",
        },
        mode="serialization",
    ),
]
"""A time in a response."""


class RequestModel(BaseModel):
    """A request. JSON types are never coerced; unknown keys are ignored: callers send more."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class ResponseModel(BaseModel):
    """An answer: exactly these fields, in this order."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True
    )

    def rendered(self) -> dict[str, Any]:
        """Return what is written as JSON; callers' own objects are in it unchanged."""
        return self.model_dump()
