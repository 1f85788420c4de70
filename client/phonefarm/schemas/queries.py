"""Models of query parameters, which all arrive as text."""

from typing import Annotated, Final

from phonefarm.schemas.fields import Moment, Name, PublicStatus, RequestId, RequestModel
from pydantic import BeforeValidator, ConfigDict, Field

MOST_LISTED: Final = 500
MOST_AUDITED: Final = 1000
MOST_NEXT: Final = 100


def _digits(value: object) -> object:
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
    if is_number:
        return int(str(value))
    if isinstance(value, int):
        return value  # the default
    raise ValueError("must be a whole number")


class Query(RequestModel):
    """Parameters. An unknown one is refused: a misspelt filter would match everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    """The endpoint ignores all parameters."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ProcessFilter(Query):
    """Which processes to list."""

    statuses: Annotated[
        list[PublicStatus],
        Field(
            alias="status",
            max_length=20,
            description=(
                "Processes with any of these statuses; to give several, repeat the parameter"
            ),
        ),
    ] = Field(default_factory=list)
    types: Annotated[
        list[Name],
        Field(
            alias="type", max_length=20, description="Processes of any of these types; repeatable"
        ),
    ] = Field(default_factory=list)
    system: Annotated[Name | None, Field(description="requested_by.system")] = None
    request_id: RequestId | None = None
    account_id: Annotated[
        Name | None,
        Field(
            description=(
                "Processes with an item that is bound to this account, or that last ran for it"
            )
        ),
    ] = None
    phone_id: Annotated[
        Name | None,
        Field(
            description=(
                "Processes with an item that is bound to this phone, or that last ran on it"
            )
        ),
    ] = None
    created_from: Annotated[
        Moment | None, Field(description="Processes created at this time or later")
    ] = None
    created_before: Annotated[
        Moment | None, Field(description="Processes created before this time")
    ] = None
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=MOST_LISTED)] = 50
    cursor: Annotated[
        str | None,
        Field(min_length=1, max_length=1024, description="The `next_cursor` of the previous page"),
    ] = None


class AuditFilter(Query):
    """Which entries of the audit to list."""

    subject: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=300,
            description="Id of a phone, account, agent or other subject",
        ),
    ] = None
    since: Annotated[Moment | None, Field(description="Entries from this time on")] = None
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=MOST_AUDITED)] = 100
    cursor: Annotated[
        str | None,
        Field(min_length=1, max_length=1024, description="The `next_cursor` of the previous page"),
    ] = None


class ScheduleQuery(Query):
    """How much of a schedule to show."""

    next_count: Annotated[
        int,
        BeforeValidator(_digits),
        Field(
            alias="next", ge=1, le=MOST_NEXT, description="How many of the next instants to list"
        ),
    ] = 5
