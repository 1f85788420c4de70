"""Models of query parameters, which all arrive as text."""

from typing import Annotated, Any, Final

from phonefarm_common.reasons import FieldProblem
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from phonefarm_gateway.schemas.fields import Moment, Name, PublicStatus, RequestId, RequestModel
from phonefarm_gateway.schemas.fields import problems_of as _problems_of
from phonefarm_gateway.strict_json import text_problem

MOST_LISTED: Final = 500
MOST_AUDITED: Final = 1000


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
                "Processes with any of these values; to give several, repeat the parameter"
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


def read(query: type[Query], given: Any) -> Query | tuple[FieldProblem, ...]:
    """Return *given*, a multidict of texts, as *query*, or its problems by parameter."""
    lists = {
        field.alias or name
        for name, field in query.model_fields.items()
        if field.annotation is not None and getattr(field.annotation, "__origin__", None) is list
    }
    if query.model_config["extra"] == "ignore":
        return query()
    values: dict[str, Any] = {}
    problems = []
    for name in dict.fromkeys(given):
        found = given.getall(name)
        unsound = next((why for text in found if (why := text_problem(text))), None)
        if unsound:
            problems.append(FieldProblem(field=_shown(name), message=unsound))
        elif name in lists:
            values[name] = found
        elif len(found) > 1:
            problems.append(
                FieldProblem(field=_shown(name), message="is given twice; send it once")
            )
        else:
            values[name] = found[0]
    if problems:
        return tuple(problems)
    try:
        return query.model_validate(values)
    except ValidationError as error:
        return tuple(
            FieldProblem(
                field=problem.field.partition("[")[0], message=_unknown(problem.message, query)
            )
            for problem in _problems_of(error)
        )


def _unknown(message: str, query: type[Query]) -> str:
    if message != "Extra inputs are not permitted":
        return message
    known = ", ".join(field.alias or name for name, field in query.model_fields.items())
    return f"is not a parameter of this endpoint; known: {known}"


def _shown(name: str) -> str:
    return ascii(name[:64])[1:-1]
