"""Models of the bodies with which operators change the farm."""

from typing import Annotated, Literal

from phonefarm.schemas.farm import CleanUpStepWord
from phonefarm.schemas.fields import LARGEST_COUNT, MOST_NAMED, Moment, Name, Object, RequestModel
from phonefarm.schemas.requests import PutAccount, Requester
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

LONGEST_REASON = 500
LONGEST_PROFILE = 256 * 1024
MOST_MEMBERS = 10_000
MOST_ACCOUNTS = 1000
MOST_HOURS = 50


def _said(reason: str) -> str:
    if not reason.strip():
        raise ValueError("must not be blank, because the audit records it")
    return reason


Reason = Annotated[
    str,
    Field(max_length=LONGEST_REASON),
    AfterValidator(_said),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_REASON,
            "pattern": r"\S",
            "description": "The reason; the audit records it",
        }
    ),
]
OptionalReason = Annotated[
    str,
    Field(
        max_length=LONGEST_REASON, description="The reason, which is optional; the audit records it"
    ),
]


class Because(RequestModel):
    """The reason for the call."""

    reason: Reason


class PerhapsBecause(RequestModel):
    """The reason for the call, which is optional."""

    reason: OptionalReason = ""


class ReplayAlertEvent(RequestModel):
    """The alert event to send again."""

    sequence: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]


class ReleasePhone(Because):
    """The lease to end, and the reason."""

    epoch: Annotated[
        int,
        Field(ge=1, le=LARGEST_COUNT, description="The value of `lease_epoch` in GET /phones"),
    ]


class HoldPhone(Because):
    """How long to hold the phone, how long to wait for it, and the reason."""

    seconds: Annotated[int, Field(ge=60, le=10_800)] = 1800
    wait_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600


class RerunProcess(Because):
    """Which items to repeat, and the reason."""

    failed_only: Annotated[
        bool, Field(description="Repeat only the items that are not completed")
    ] = False
    not_posted: Annotated[
        bool,
        Field(
            description=(
                "Confirms that somebody has checked the account, and did not find the posts with "
                "`outcome_unknown`"
            )
        ),
    ] = False


_Scope = Literal["all", "app", "account", "capability"]


class _OfScope(RequestModel):
    scope: _Scope
    name: Annotated[
        Name | None,
        Field(description="Name of the app, account or capability; absent if `scope` is `all`"),
    ] = None

    @field_validator("name")
    @classmethod
    def _fits(cls, name: str | None, info: ValidationInfo) -> str | None:
        scope = info.data.get("scope")
        if scope == "all" and name is not None:
            raise ValueError("must be absent if `scope` is `all`")
        if scope not in {"all", None} and name is None:
            raise ValueError(f"is required if `scope` is `{scope}`")
        return name

    model_config = RequestModel.model_config | {"validate_default": True}


class PauseWork(_OfScope):
    """The work to pause, and the reason."""

    reason: Reason
    stop: Annotated[
        bool, Field(description="Also stop runs in progress; their items go back to the queue")
    ] = False


class Resume(_OfScope):
    """The pause to end."""

    reason: OptionalReason = ""


class _OfWindow(RequestModel):
    scope: Literal["account", "phone", "group", "capability"]
    name: Annotated[
        Name, Field(description="Name of the account, phone, group of phones or capability")
    ]


class PutWindow(_OfWindow):
    """The weekly hours in which work of the scope may begin, and the reason."""

    reason: Reason
    zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            description="A time zone of the IANA database, for example Europe/Berlin",
        ),
    ]
    hours: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]],
        Field(
            min_length=1,
            max_length=MOST_HOURS,
            description="Texts such as `mon-fri 09:00-17:00`, `sat,sun 22:00-02:00` or `daily "
            "00:00-24:00`",
        ),
    ]
    may_overrun: Annotated[
        bool,
        Field(
            description="If true, runs may begin at any time before the hours close. If false, a "
            "run begins only if its time limit ends before the hours close"
        ),
    ] = False


class RemoveWindow(_OfWindow):
    """The window to remove, and the reason, which is optional."""

    reason: OptionalReason = ""


class _OfLimit(Because):
    kind: Literal["runs_per_day", "seconds_between_runs", "runs_at_once"]
    scope: Annotated[
        Literal["account", "every_account", "group", "app", "agent"],
        Field(
            description="account or every_account; for runs_at_once, a group of phones, an app or "
            "an agent"
        ),
    ]
    name: Annotated[
        Name | None,
        Field(
            description="Name of the account, group of phones, app or agent; absent if scope is "
            "every_account"
        ),
    ] = None

    @field_validator("name")
    @classmethod
    def _fits(cls, name: str | None, info: ValidationInfo) -> str | None:
        scope = info.data.get("scope")
        if scope == "every_account" and name is not None:
            raise ValueError("must be absent when scope is every_account")
        if scope not in {"every_account", None} and name is None:
            raise ValueError(f"is required when scope is {scope}")
        return name

    model_config = RequestModel.model_config | {"validate_default": True}


class PutLimit(_OfLimit):
    """What the limit counts, how many it allows, and the reason."""

    value: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Runs; seconds if kind is seconds_between_runs. At most 10,000 runs a day, "
            "86,400 s, 100,000 runs at once",
        ),
    ]
    zone: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="A time zone of the IANA database, whose days count; required for "
            "runs_per_day, absent otherwise",
        ),
    ] = None


class RemoveLimit(_OfLimit):
    """The limit to remove, and the reason, which is optional."""

    reason: OptionalReason = ""


class PutGroup(PerhapsBecause):
    """The members of a group; an empty list removes the group."""

    member_ids: Annotated[list[Name], Field(max_length=MOST_MEMBERS, fail_fast=True)]


class ChangeGroup(PerhapsBecause):
    """Members to add to a group, and members to remove from it."""

    add_ids: Annotated[
        list[Name],
        Field(max_length=MOST_NAMED, fail_fast=True, description="Members to add"),
    ] = Field(default_factory=list)
    remove_ids: Annotated[
        list[Name],
        Field(max_length=MOST_NAMED, fail_fast=True, description="Members to remove"),
    ] = Field(default_factory=list)


class PutCleanUp(PerhapsBecause):
    """The clean-up steps after each run on the group's phones."""

    steps: Annotated[
        list[CleanUpStepWord] | None,
        Field(max_length=3, description="The steps; null removes the group's setting"),
    ]


class PutAccountOfMany(PutAccount):
    """One account in a request for many accounts."""

    account_id: Name


class PutAccounts(RequestModel):
    """Accounts to create or replace: all of them or none."""

    accounts: Annotated[list[PutAccountOfMany], Field(min_length=1, max_length=MOST_ACCOUNTS)]


class Invite(PerhapsBecause):
    """The host to invite, and how long the invitation is valid."""

    role: Literal["agent", "gateway"] = "agent"
    member_id: Annotated[
        Name | None,
        Field(
            description=(
                "The host's name; if absent, the host chooses a name that no host has had before"
            )
        ),
    ] = None
    good_for_seconds: Annotated[int, Field(ge=60, le=86_400)] = 900


class CreateKey(RequestModel):
    """A new key: its name, its scopes, and when it expires."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    scopes: Annotated[
        list[Literal["submit", "read", "watch", "cancel", "operate", "admin"]],
        Field(
            min_length=1,
            max_length=6,
            description=(
                "What the key may do; `admin` includes all scopes, and `operate` includes `read` "
                "and `watch`"
            ),
        ),
    ]
    expires_at: Annotated[Moment | None, Field(description="Absent if the key never expires")] = (
        None
    )


class _OnPhone(RequestModel):
    phone_id: Name
    account_id: Annotated[
        Name | None,
        Field(description="The account to use; if absent, the only active account on the phone"),
    ] = None
    requested_by: Requester


class Verify(_OnPhone):
    """The phone on which to verify the capability."""

    inputs: Annotated[
        Object | None,
        Field(
            description=(
                "The inputs; may be absent if the capability has default inputs, which change "
                "nothing"
            )
        ),
    ] = None


class CheckProfile(_OnPhone):
    """An app profile, and the phone on which to check it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
    profile_toml: Annotated[str, Field(min_length=1, max_length=LONGEST_PROFILE)]
