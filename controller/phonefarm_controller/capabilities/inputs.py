"""Reading a capability's inputs: every wrong field is named, all at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.capabilities.fields import Field, or_null
from phonefarm_controller.model.errors import invalid, unsupported


def read_inputs(
    fields: Sequence[Field], values: Mapping[str, Any], *, path: str = "inputs"
) -> dict[str, Any]:
    """Return every field's value, absent ones as their default.

    FarmError: the reason of its own that a missing field has, else one that names every wrong
    field; it is `unsupported_input:<name>` if a name is unknown.
    """
    problems: list[FieldProblem] = []
    read: dict[str, Any] = {}
    for field in fields:
        where = f"{path}.{field.name}" if path else field.name
        value = values.get(field.name)
        if value in (None, "") and field.missing is not None:
            raise field.missing
        if value is not None:
            read[field.name] = field.read(value, where, problems)
            continue
        read[field.name] = field.default
        if field.required:
            problems.append(FieldProblem(field=where, message="is required"))
    if unknown := sorted(values.keys() - read.keys()):
        raise unsupported(unknown, *problems, path=path)
    if problems:
        raise invalid(*problems)
    return read


def schema_of(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the JSON Schema of an object with these fields: it takes what `read_inputs` takes.

    Only what no schema can say is left to the reading: rules between fields, and the words of the
    errors.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            field.name: field.schema() if field.required else or_null(field.schema())
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
