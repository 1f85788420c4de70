"""What callers may send: shapes only. Meaning is the controller's, in one place for all edges."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from phonefarm_gateway.schemas.fields import (
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
    """Who asks."""

    system: Name
    user: Annotated[str, Field(max_length=256)] | None = None
    metadata: Object = Field(default_factory=dict)


class Enqueue(RequestModel):
    """A request for work by a capability."""

    request_id: RequestId
    capability: Name
    mode: Literal["manual", "unattended"]
    target: Target
    inputs: Annotated[
        Object, Field(description="What the capability takes: GET /capabilities, `inputs_schema`")
    ]
    callback: Callback
    requested_by: RequestedBy
    priority: Annotated[int, Field(ge=0, le=9, description="9 first; 5 when absent")] | None = None
    not_before: Moment | None = None
    deadline: (
        Annotated[Moment, Field(description="The latest moment for the first action")] | None
    ) = None
    dry_run: Annotated[bool, Field(description="Check everything, create nothing")] = False


class Step(RequestModel):
    """One maintenance step; which actions and params there are is the planner's to say."""

    action: Annotated[Name, Field(description="edit_profile")]
    params: (
        Annotated[Object, Field(description="At least one of display_name, bio, username")] | None
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
    """Read a bare name as the system that asks."""
    return {"system": value} if isinstance(value, str) else value


class Cancel(RequestModel):
    """The wish to end a process."""

    reason: Text
    requested_by: Annotated[
        RequestedBy,
        BeforeValidator(_named),
        WithJsonSchema(
            {
                "description": "Who asks, or only the name of the system",
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": 128},
                    {"$ref": "#/components/schemas/RequestedBy"},
                ],
            }
        ),
    ]
    strategy: Annotated[
        Literal["soft", "hard", "soft_then_force"],
        Field(
            description="soft: the run stops between actions; hard: its container is ended now; "
            "soft_then_force: soft, then hard after the window"
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
    scheduling_hint: Annotated[Moment, Field(description="Not before this moment")] | None = None
    metadata: Object = Field(default_factory=dict)


class CancelContent(RequestModel):
    """The wish to take back what was ingested."""

    content_id: RequestId
    account_id: Name
    reason: Text


class Snapshot(RequestModel):
    """What is known of an account's persona, for the runs to come."""

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
                description="Absent or empty: all that were not delivered",
            ),
        ]
        | None
    ) = None


class PutAccount(RequestModel):
    """What an account is: its phone, its app, whether it may be used."""

    phone_id: Annotated[Name, Field(description="null for an account that is on no phone")] | None
    app: Annotated[Name, Field(description="The app profile's name, e.g. shortvideo")]
    active: bool = True
    condition: Annotated[
        Literal["ok", "needs_attention"],
        Field(description="needs_attention keeps work away from it"),
    ] = "ok"
    condition_reason: Annotated[str, Field(max_length=500)] = ""
