"""The fields of a script: a list of steps, and what the step of each kind may be.

As in `fields`, what checks a value also yields its JSON Schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from phonefarm_common.reasons import FarmError, FieldProblem

from phonefarm_controller.capabilities.fields import Field, Integer, Problems, Schema, Text
from phonefarm_controller.capabilities.phone_fields import PACKAGE, Patterned


@dataclass(frozen=True, kw_only=True)
class Component(Patterned):
    """An activity of an app, as `am start -n` takes it."""

    pattern: str = field(default=f"{PACKAGE}/[A-Za-z_.][A-Za-z0-9_.$]*", repr=False)
    wrong: str = field(
        default="must be PACKAGE/ACTIVITY, such as com.android.settings/.Settings", repr=False
    )


@dataclass(frozen=True, kw_only=True)
class FileName(Patterned):
    """How a file of the run's evidence begins."""

    pattern: str = field(default="[A-Za-z0-9][A-Za-z0-9._-]{0,60}", repr=False)
    wrong: str = field(
        default="must be a plain file name: letters and digits, and after the first also . _ -",
        repr=False,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few words."""

    name: str
    description: str
    words: tuple[str, ...] = field(repr=False)
    default: None = None
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the word."""
        if not isinstance(value, str) or value not in self.words:
            message = f"must be one of {', '.join(self.words)}"
            problems.append(FieldProblem(field=where, message=message))
        return value

    def schema(self) -> Schema:
        """Return the words."""
        return {"type": "string", "description": self.description, "enum": list(self.words)}


@dataclass(frozen=True, kw_only=True)
class Always:
    """The value true, for a step that has nothing to say but its name."""

    name: str
    description: str
    default: None = None
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the value."""
        if value is not True:
            problems.append(FieldProblem(field=where, message="must be true"))
        return value

    def schema(self) -> Schema:
        """Return that it is true."""
        return {"type": "boolean", "description": self.description, "const": True}


@dataclass(frozen=True, kw_only=True)
class Table:
    """An object of a few fields; at least one of *any_of* must be given, if there are some.

    A field that is null is wrong: a caller leaves out what is absent.
    """

    name: str
    description: str
    fields: tuple[Field, ...] = field(repr=False)
    any_of: tuple[str, ...] = field(default=(), repr=False)
    default: None = None
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the object with the defaults of what is absent; every wrong field is named."""
        known = ", ".join(each.name for each in self.fields)
        if not isinstance(value, dict):
            message = f"must be an object with fields of {known}"
            problems.append(FieldProblem(field=where, message=message))
            return value
        read: dict[str, Any] = {}
        for each in self.fields:
            if each.name in value:
                inside = f"{where}.{each.name}"
                read[each.name] = each.read(value[each.name], inside, problems)
            elif each.required:
                problems.append(FieldProblem(field=f"{where}.{each.name}", message="is required"))
            elif each.default is not None:
                read[each.name] = each.default
        problems += unknown_keys(value, {each.name for each in self.fields}, where, known)
        if self.any_of and not value.keys() & set(self.any_of):
            message = f"must contain at least one of {', '.join(self.any_of)}"
            problems.append(FieldProblem(field=where, message=message))
        return read

    def schema(self) -> Schema:
        """Return what each field may be."""
        schema: Schema = {
            "type": "object",
            "description": self.description,
            "properties": {each.name: each.schema() for each in self.fields},
            "required": [each.name for each in self.fields if each.required],
            "additionalProperties": False,
        }
        if self.any_of:
            schema["anyOf"] = [{"required": [name]} for name in self.any_of]
        return schema


VIEW_KEYS: Final[tuple[Field, ...]] = (
    Text(name="text", description="the view's text", most=500),
    Text(name="text_contains", description="a part of the view's text", most=500),
    Text(name="description", description="the view's content description", most=500),
    Text(
        name="description_contains",
        description="a part of the view's content description",
        most=500,
    ),
    Text(
        name="id",
        description="the view's resource id as in a UI dump, such as android:id/title",
        most=500,
    ),
    Text(name="class", description="the view's class, such as android.widget.EditText", most=500),
    Integer(
        name="index",
        description="which of the views that match, from 0; if absent, the first",
        least=0,
        most=1000,
    ),
)
_IDENTIFYING: Final = tuple(each.name for each in VIEW_KEYS if each.name != "index")


def view(name: str, description: str, *more: Field) -> Table:
    """Return the field for a view by the keys that app profiles have, and for *more*."""
    return Table(
        name=name, description=description, fields=(*VIEW_KEYS, *more), any_of=_IDENTIFYING
    )


@dataclass(frozen=True, kw_only=True)
class ViewOrPoint:
    """A view, or a point of the screen: what has an x or a y is a point."""

    name: str
    description: str
    default: None = None
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the object; every wrong field is named."""
        is_point = isinstance(value, dict) and not value.keys().isdisjoint({"x", "y"})
        return self._tables()[is_point].read(value, where, problems)

    def schema(self) -> Schema:
        """Return what both may be."""
        tables = [table.schema() for table in self._tables()]
        return {"type": "object", "description": self.description, "oneOf": tables}

    def _tables(self) -> tuple[Table, Table]:
        point = Table(
            name=self.name,
            description="a point of the screen in pixels",
            fields=tuple(
                Integer(name=axis, description=description, least=0, most=9999, required=True)
                for axis, description in (("x", "from the left"), ("y", "from the top"))
            ),
        )
        return view(self.name, "a view; the run waits up to 10 s for it"), point


@dataclass(frozen=True, kw_only=True)
class ScriptStep:
    """One step as read: its kind and what was given for it."""

    kind: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Script:
    """A list of steps, each an object with exactly one field, whose name is the step's kind."""

    name: str
    description: str
    most: int
    kinds: tuple[Field, ...] = field(repr=False)
    required: bool = False
    missing: FarmError | None = None

    @property
    def default(self) -> list[ScriptStep]:
        """An absent list is empty."""
        return []

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the steps; every wrong field of each is named."""
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            message = f"must be a list of 1 to {self.most} steps"
            problems.append(FieldProblem(field=where, message=message))
            return []
        return [self._step(step, f"{where}[{n}]", problems) for n, step in enumerate(value)]

    def _step(self, step: Any, where: str, problems: Problems) -> ScriptStep | None:
        kinds = {each.name: each for each in self.kinds}
        known = ", ".join(kinds)
        if not isinstance(step, dict):
            message = (
                f'must be an object such as {{"tap": {{"text": "OK"}}}}; the steps are {known}'
            )
            problems.append(FieldProblem(field=where, message=message))
            return None
        if unknown := unknown_keys(step, set(kinds), where, known):
            problems += unknown
            return None
        named = [name for name in kinds if name in step]
        if len(named) != 1:
            found = f"but has {', '.join(named)}: make each a step of its own"
            message = f"must have exactly one of {known}{f', {found}' if named else ''}"
            problems.append(FieldProblem(field=where, message=message))
            return None
        kind = named[0]
        return ScriptStep(
            kind=kind, value=kinds[kind].read(step[kind], f"{where}.{kind}", problems)
        )

    def schema(self) -> Schema:
        """Return the list's limits and what the step of each kind may be."""
        steps = [
            {
                "type": "object",
                "properties": {each.name: each.schema()},
                "required": [each.name],
                "additionalProperties": False,
            }
            for each in self.kinds
        ]
        return {
            "type": "array",
            "description": self.description,
            "items": {"oneOf": steps},
            "minItems": 1,
            "maxItems": self.most,
        }


def unknown_keys(given: Mapping[str, Any], known: set[str], where: str, use: str) -> Problems:
    """Return a problem for each key that nobody knows."""
    return [
        FieldProblem(field=f"{where}.{name[:64]}", message=f"is not supported; use {use}")
        for name in sorted(given.keys() - known)
    ]
