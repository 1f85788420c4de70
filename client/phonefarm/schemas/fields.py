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

StatusWord = Annotated[
    str, WithJsonSchema({"type": "string", "enum": list(get_args(PublicStatus))})
]
"""A public status in an answer; an unknown one of a newer controller is passed on."""

ITEM_STATES: Final = (
    "QUEUED",
    "SCHEDULED",
    "CLAIMED",
    "EXECUTING",
    "RETRYABLE",
    "DONE",
    "DEAD_LETTER",
    "CANCELLED",
)
ItemState = Annotated[str, WithJsonSchema({"type": "string", "enum": list(ITEM_STATES)})]
"""As StatusWord."""

PHONE_WORDS: Final = {
    "transport": (
        "absent",
        "offline",
        "unauthorized",
        "no_permission",
        "recovery",
        "bootloader",
        "online",
    ),
    "readiness": ("unknown", "preparing", "ready", "unfit", "cooling"),
    "health": ("good", "suspect", "quarantined", "retired"),
    "lease": ("free", "leased", "releasing", "dirty"),
    "intent": ("new", "in_service", "maintenance", "draining"),
}
"""The values of the five parts of a phone's status (docs/states.md)."""


def _phone_word(part: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(PHONE_WORDS[part])})


TransportWord = Annotated[str, _phone_word("transport")]
ReadinessWord = Annotated[str, _phone_word("readiness")]
HealthWord = Annotated[str, _phone_word("health")]
LeaseWord = Annotated[str, _phone_word("lease")]
IntentWord = Annotated[str, _phone_word("intent")]

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
"""A time in an answer."""


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
