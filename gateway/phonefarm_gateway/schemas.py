"""What callers may send: shapes only. Meaning is the controller's, in one place for all edges."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from phonefarm_common.reasons import FieldProblem
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from phonefarm_gateway.strict_json import MOST_PROBLEMS, path

# The key (process_type, requested_by.system, request_id) must fit PostgreSQL's 2,704 index bytes.
RequestId = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Url = Annotated[str, Field(min_length=1, max_length=2048)]
Object = dict[str, Any]

PUBLIC_STATUSES: Final = (
    "queued",
    "executing",
    "retrying",
    "completed",
    "failed_terminal",
    "cancelled",
)


def _moment(value: object) -> object:
    """Read ISO-8601 with a zone; pydantic's own reader also takes numbers and naive times."""
    if value is None:
        return None
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


def _named(value: object) -> object:
    """Read a bare name as the system that asks."""
    return {"system": value} if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]


class Shape(BaseModel):
    """JSON types are never coerced; unknown keys are ignored, for existing callers send more."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Target(Shape):
    """Where the work may run."""

    routing: Literal["direct", "queue", "group"]
    phone_id: str | None = None
    account_id: str | None = None
    phone_group: str | None = None
    account_group: str | None = None
    phone_ids: Annotated[list[str], Field(fail_fast=True)] | None = None
    account_ids: Annotated[list[str], Field(fail_fast=True)] | None = None


class Callback(Shape):
    """Where to send events."""

    url: Url
    metadata: Object = Field(default_factory=dict)


class RequestedBy(Shape):
    """Who asks."""

    system: Name
    user: str | None = None
    metadata: Object = Field(default_factory=dict)


class Enqueue(Shape):
    """POST /capability-requests/enqueue."""

    request_id: RequestId
    capability: Name
    mode: Literal["manual", "unattended"]
    target: Target
    inputs: Object
    callback: Callback
    requested_by: RequestedBy
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    dry_run: bool = False


class Step(Shape):
    """One maintenance step; which actions and params there are is the planner's to say."""

    action: Name
    params: Object | None = None


class MaintenanceInputs(Shape):
    """The steps, in order."""

    steps: Annotated[list[Step], Field(min_length=1, fail_fast=True)]
    metadata: Object = Field(default_factory=dict)


class MaintenanceShape(Shape):
    """POST /maintenance/requests, with every step looked at."""

    request_id: RequestId
    account_id: Name
    inputs: MaintenanceInputs
    callback: Callback
    requested_by: RequestedBy


class Cancel(Shape):
    """POST /processes/{process_id}/cancel."""

    reason: Text
    requested_by: Annotated[RequestedBy, BeforeValidator(_named)]
    strategy: Literal["soft", "hard", "soft_then_force"] = "soft_then_force"
    force_after_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] = 10


def problems_of(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Return each thing pydantic found, by dotted path, with a sentence a caller can act on."""
    found: dict[str, FieldProblem] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = path(item["loc"])
        found.setdefault(
            field, FieldProblem(field=field, message=_sentence(item["type"], item["msg"]))
        )
    return tuple(found.values())[:MOST_PROBLEMS]


def _sentence(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "is required"
        case "value_error":
            return message.removeprefix("Value error, ")
        case "model_type" | "dict_type":
            return "must be an object"
        case _:
            return message.replace("Input should be", "must be").replace("should", "must")
