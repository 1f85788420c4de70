"""Models of request bodies: shapes only. The controller judges their meaning, for every edge."""

from typing import Annotated, Any, Final, Literal

from phonefarm.schemas.fields import (
    LARGEST_COUNT,
    Moment,
    Name,
    Names,
    Object,
    RequestId,
    RequestModel,
    Text,
    Url,
)
from pydantic import BeforeValidator, Field, WithJsonSchema

MOST_STEPS: Final = 100
MOST_HASHTAGS: Final = 100
MOST_SEQUENCES: Final = 1000


class Target(RequestModel):
    """Where the work may run."""

    routing: Literal["direct", "queue", "group"]
    phone_id: Name | None = None
    account_id: Name | None = None
    phone_group: Name | None = None
    account_group: Name | None = None
    phone_ids: Names | None = None
    account_ids: Names | None = None


class Callback(RequestModel):
    """Where to send events."""

    url: Url
    metadata: Object = Field(default_factory=dict)


class RequestedBy(RequestModel):
    """Who requests the work."""

    system: Name
    user: Annotated[str, Field(max_length=256)] | None = None
    metadata: Object = Field(default_factory=dict)


Priority = Annotated[
    int,
    Field(
        ge=0,
        le=9,
        description="The priority, 0 to 9. Work with priority 9 runs first; the default is 5",
    ),
]


class Enqueue(RequestModel):
    """A request for work by a capability."""

    request_id: RequestId
    capability: Name
    mode: Literal["manual", "unattended"]
    target: Target
    inputs: Annotated[
        Object,
        Field(description="The inputs, as `inputs_schema` in GET /capabilities describes them"),
    ]
    callback: Callback
    requested_by: RequestedBy
    priority: Priority | None = None
    not_before: Moment | None = None
    deadline: (
        Annotated[Moment, Field(description="The latest time at which a run may begin to act")]
        | None
    ) = None
    dry_run: Annotated[bool, Field(description="Check everything, but create nothing")] = False


class Step(RequestModel):
    """One maintenance step; the planner knows the actions and their params."""

    action: Annotated[Name, Field(description="edit_profile")]
    params: (
        Annotated[Object, Field(description="At least one of display_name, bio and username")]
        | None
    ) = None
    mutation_kind: Any = None
    randomized: Any = None


class MaintenanceInputs(RequestModel):
    """The steps, in order."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=MOST_STEPS, fail_fast=True)]
    metadata: Object = Field(default_factory=dict)


class Maintenance(RequestModel):
    """Maintenance steps on one account's phone."""

    request_id: RequestId
    account_id: Name
    inputs: MaintenanceInputs
    callback: Callback
    requested_by: RequestedBy


def _named(value: object) -> object:
    """Read a bare name as the name of a system."""
    return {"system": value} if isinstance(value, str) else value


Requester = Annotated[
    RequestedBy,
    BeforeValidator(_named),
    WithJsonSchema(
        {
            "description": (
                "The system and the user that send the request, or only the name of the system"
            ),
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 128},
                {"$ref": "#/components/schemas/RequestedBy"},
            ],
        }
    ),
]


class Cancel(RequestModel):
    """A request to cancel a process."""

    reason: Text
    requested_by: Requester
    strategy: Annotated[
        Literal["soft", "hard", "soft_then_force"],
        Field(
            description="`soft`: the run stops between two actions; `hard`: the farm kills the "
            "run's container at once; `soft_then_force`: first `soft`, then `hard` after "
            "`force_after_seconds`"
        ),
    ] = "soft_then_force"
    force_after_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] = 10


class Ingest(RequestModel):
    """One video to post, for one account."""

    content_id: RequestId
    account_id: Name
    video_path: Url
    caption: Text
    hashtags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]],
        Field(
            max_length=MOST_HASHTAGS, fail_fast=True, description="With or without the leading #"
        ),
    ] = Field(default_factory=list)
    sound_id: Annotated[str, Field(max_length=256)] | None = None
    cover_image_path: Url | None = None
    callback_url: Url | None = None
    scheduling_hint: (
        Annotated[Moment, Field(description="The run does not begin before this time")] | None
    ) = None
    metadata: Object = Field(default_factory=dict)


class CancelContent(RequestModel):
    """A request to cancel an ingested video."""

    content_id: RequestId
    account_id: Name
    reason: Text


class Snapshot(RequestModel):
    """What the caller knows about an account's persona, for later runs."""

    account_id: Name
    ugc_account_id: Name
    snapshot_id: RequestId
    strategy_version: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    content_hash: Annotated[str, Field(min_length=1, max_length=256)]
    strategy_synced_at: Moment
    personality: Object
    stage: Annotated[str, Field(max_length=256)] | None = None
    active_action: Annotated[str, Field(max_length=256)] | None = None
    active_skills: Annotated[list[Any], Field(max_length=1000)] = Field(default_factory=list)


class Replay(RequestModel):
    """Which callbacks to send again."""

    sequences: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=LARGEST_COUNT)]],
            Field(
                max_length=MOST_SEQUENCES,
                fail_fast=True,
                description=(
                    "The callbacks to send again; if absent or empty, all callbacks that were not "
                    "delivered"
                ),
            ),
        ]
        | None
    ) = None


class PutAccount(RequestModel):
    """An account's phone and app, and whether the farm may use the account."""

    phone_id: Annotated[Name, Field(description="null if the account has no phone")] | None
    app: Annotated[Name, Field(description="The name of the app profile, e.g. shortvideo")]
    active: bool = True
    condition: Annotated[
        Literal["ok", "needs_attention"],
        Field(
            description=(
                "An account in `needs_attention` gets no work until a person clears this state"
            )
        ),
    ] = "ok"
    condition_reason: Annotated[str, Field(max_length=500)] = ""


class LogIn(RequestModel):
    """A login to the console: a key, or the ticket of a link."""

    key: Annotated[str | None, Field(min_length=1, max_length=2048, description="An API key")] = (
        None
    )
    ticket: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="The ticket from POST /console/tickets"),
    ] = None
