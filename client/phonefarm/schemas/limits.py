"""Response models of limits: how many runs a day, how far apart, and how many at once."""

from typing import Annotated

from phonefarm.schemas.fields import Instant, LimitKind, LimitScope, ResponseModel
from pydantic import Field


class Limit(ResponseModel):
    """How many runs an account may begin a day, how far apart, or how many may run at once."""

    kind: LimitKind
    scope: LimitScope
    name: Annotated[
        str | None,
        Field(
            description="Name of the account, group of phones, app or agent; null for every_account"
        ),
    ]
    value: Annotated[int, Field(description="Runs; seconds if kind is seconds_between_runs")]
    zone: Annotated[
        str | None,
        Field(description="The time zone whose days count; null unless kind is runs_per_day"),
    ]
    since: Instant | None
    by: str
    reason: str


class LimitList(ResponseModel):
    """Every limit, by kind, scope and name."""

    limits: tuple[Limit, ...]


class LimitRemoved(ResponseModel):
    """The scope has no limit of this kind."""

    kind: str
    scope: str
    name: str | None
    removed: Annotated[bool, Field(description="false if there was no such limit")]
