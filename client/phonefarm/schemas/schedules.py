"""Models of schedules, that is of recurring work: the bodies of requests, and the responses."""

from typing import Annotated, Literal, TypeAlias

from phonefarm.schemas.farm_requests import Because
from phonefarm.schemas.fields import (
    FiringOutcome,
    Instant,
    Name,
    Object,
    RequestModel,
    ResponseModel,
    Uuid,
)
from phonefarm.schemas.process_record import RecordCallback, RecordRequestedBy
from phonefarm.schemas.requests import Callback, Priority, RequestedBy, Target
from pydantic import Field

CatchUp: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["skip", "allow"]
DAY_SECONDS = 24 * 3600
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_CATCH_UP = (
    "What happens to instants at which no controller could enqueue within 60 s: none of them, the "
    "newest, or the newest 100 become processes"
)
_OVERLAP = "Whether an instant becomes a process while the schedule's last process has not ended"
_JITTER = (
    "Each process is enqueued with a delay of up to this many seconds after its instant; the delay "
    "of an instant is always the same"
)
_START = "The first action must begin within this many seconds after the process was enqueued"


class ScheduledRequest(RequestModel):
    """The request that becomes a process at each instant; its fields are those of an enqueue."""

    capability: Name
    mode: Literal["manual", "unattended"]
    target: Target
    inputs: Annotated[
        Object,
        Field(description="The inputs, as `inputs_schema` in GET /capabilities describes them"),
    ]
    callback: Callback | None = None
    requested_by: RequestedBy
    priority: Priority | None = None


class AddSchedule(Because):
    """Recurring work: when, and what."""

    name: Annotated[str, Field(pattern=_NAME, description="The name of the schedule")]
    cron: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            description="Minute, hour, day of the month, month and day of the week, for example "
            "`30 9 * * mon-fri`",
        ),
    ]
    zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            description="A time zone of the IANA database, for example Europe/Berlin",
        ),
    ]
    jitter_seconds: Annotated[int, Field(ge=0, le=DAY_SECONDS, description=_JITTER)] = 0
    catch_up: Annotated[CatchUp, Field(description=_CATCH_UP)] = "once"
    overlap: Annotated[Overlap, Field(description=_OVERLAP)] = "skip"
    start_within_seconds: (
        Annotated[int, Field(ge=1, le=30 * DAY_SECONDS, description=_START)] | None
    ) = None
    request: ScheduledRequest


class ScheduledWork(ResponseModel):
    """The request that becomes a process at each instant."""

    capability: str
    mode: str
    target: Annotated[Object, Field(description="The target, with only the fields that were given")]
    inputs: Object
    callback: RecordCallback | None
    requested_by: RecordRequestedBy
    priority: int


class Schedule(ResponseModel):
    """Recurring work."""

    schedule_id: Uuid
    name: str
    cron: str
    zone: Annotated[str, Field(description="A time zone of the IANA database")]
    jitter_seconds: Annotated[int, Field(description=_JITTER)]
    catch_up: Annotated[str, Field(description=_CATCH_UP)]
    overlap: Annotated[str, Field(description=_OVERLAP)]
    start_within_seconds: Annotated[int | None, Field(description=_START)]
    request: ScheduledWork
    paused: bool
    next_at: Annotated[
        Instant | None,
        Field(description="The next instant; null while the schedule is paused"),
    ]
    due_at: Annotated[
        Instant | None,
        Field(description="When the next process is enqueued: the next instant plus its jitter"),
    ]
    last_process_id: Annotated[Uuid | None, Field(description="The newest process")]
    problem: Annotated[
        str,
        Field(
            description="Why the schedule cannot enqueue at present; empty if it can, or is paused"
        ),
    ]
    created_at: Instant | None
    created_by: Annotated[str, Field(description="The name of a key")]


class ScheduleList(ResponseModel):
    """Every schedule, by name."""

    schedules: tuple[Schedule, ...]


class NextRun(ResponseModel):
    """An instant that will come."""

    instant: Instant | None
    due_at: Annotated[Instant | None, Field(description="The instant plus its jitter")]


class Firing(ResponseModel):
    """What came of an instant."""

    instant: Instant | None
    at: Annotated[Instant | None, Field(description="When the instant was handled")]
    outcome: FiringOutcome
    process_id: Annotated[Uuid | None, Field(description="null if there is no process")]
    reason: Annotated[
        str,
        Field(description="Why the request was refused, as in the response to an enqueue request"),
    ]
    message: str


class ScheduleDetails(ResponseModel):
    """A schedule, the instants that come next, and what came of the last 100, newest first."""

    schedule: Schedule
    next_runs: tuple[NextRun, ...]
    firings: tuple[Firing, ...]


class ScheduleDeleted(ResponseModel):
    """The schedule is gone."""

    name: str
