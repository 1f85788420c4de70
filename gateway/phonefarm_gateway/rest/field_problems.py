"""Says which fields of a request do not fit their model, and why."""

from phonefarm_common.reasons import FieldProblem
from pydantic import ValidationError

from phonefarm_gateway.strict_json import MOST_PROBLEMS, path


def problems_of(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Return each problem that pydantic found: a dotted path, and a sentence for the caller."""
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
