"""Reads query parameters, which all arrive as text, into their model."""

from typing import Any

from phonefarm.schemas.queries import Query
from phonefarm_common.reasons import FieldProblem
from pydantic import ValidationError

from phonefarm_gateway.rest.field_problems import problems_of
from phonefarm_gateway.strict_json import text_problem


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
            for problem in problems_of(error)
        )


def _unknown(message: str, query: type[Query]) -> str:
    if message != "Extra inputs are not permitted":
        return message
    known = ", ".join(field.alias or name for name, field in query.model_fields.items())
    return f"is not a parameter of this endpoint; known: {known}"


def _shown(name: str) -> str:
    return ascii(name[:64])[1:-1]
