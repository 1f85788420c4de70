"""The fields of a capability's inputs, as data: what checks a value also yields its JSON Schema.

A field that is null counts as absent. Each `read` returns the value to use and adds what is wrong
to *problems*; each `schema` is JSON Schema 2020-12 and takes the same values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

Problems = list[FieldProblem]
Schema = dict[str, Any]

UNTYPEABLE = "[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\ud800-\\udfff\\ufffe\\uffff]"
"""What no way of typing puts into a field and reads back, as a regular expression of JSON Schema.

Control characters but line ends, halves of surrogate pairs, and what no XML holds: a phone's screen
is read as XML. The executor has the same (actions/registry.py).
"""


class Field(Protocol):
    """One named input."""

    @property
    def name(self) -> str:
        """Return the key in the inputs."""

    @property
    def required(self) -> bool:
        """Tell whether it must be given."""

    @property
    def default(self) -> Any:
        """Return what an absent value means."""

    @property
    def missing(self) -> FarmError | None:
        """Return the error of its own for when it is absent, None when it has none."""

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the value to use; what is wrong with it goes to *problems* under *where*."""

    def schema(self) -> Schema:
        """Return what a value must be."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A string that is not blank."""

    name: str
    description: str
    most: int
    typed: bool = False
    """True if a run types the text into a field of the phone."""
    required: bool = False
    missing_reason: Reason | None = None

    @property
    def default(self) -> None:
        """An absent text is None."""
        return

    @property
    def missing(self) -> FarmError | None:
        """Return the error that has a reason of its own."""
        if self.missing_reason is None:
            return None
        problem = FieldProblem(field=f"inputs.{self.name}", message="is required")
        return FarmError(
            self.missing_reason, f"inputs.{self.name} is required", problems=(problem,)
        )

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the string."""
        if not isinstance(value, str) or not value.strip():
            problems.append(FieldProblem(field=where, message="must be a string that is not blank"))
        elif len(value) > self.most:
            message = f"must have at most {self.most} characters, but has {len(value)}"
            problems.append(FieldProblem(field=where, message=message))
        elif self.typed:
            problems += untypeable(value, where)
        return value

    def schema(self) -> Schema:
        """Return a string's limits."""
        return {"description": self.description, **_text(self.most, typed=self.typed)}


@dataclass(frozen=True, kw_only=True)
class Url(Text):
    """An http or https URL. Whoever connects to it checks its address."""

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the URL."""
        before = len(problems)
        super().read(value, where, problems)
        if len(problems) == before and not is_http(value):
            problems.append(FieldProblem(field=where, message="must be an http or https URL"))
        return value

    def schema(self) -> Schema:
        """Return a URL's limits."""
        return super().schema() | {"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://"}


@dataclass(frozen=True, kw_only=True)
class Flag:
    """True or false."""

    name: str
    description: str
    default: bool = False
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the value."""
        if not isinstance(value, bool):
            problems.append(FieldProblem(field=where, message="must be true or false"))
        return value

    def schema(self) -> Schema:
        """Return its default."""
        return {"type": "boolean", "description": self.description, "default": self.default}


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number between two bounds. 2.0 is one: JSON knows only numbers."""

    name: str
    description: str
    least: int
    most: int
    default: int | None = None
    required: bool = False
    missing: FarmError | None = None

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the number."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            problems.append(FieldProblem(field=where, message="must be a whole number"))
        elif not self.least <= value <= self.most:
            message = f"must be between {self.least} and {self.most}"
            problems.append(FieldProblem(field=where, message=message))
        return value

    def schema(self) -> Schema:
        """Return its bounds and default."""
        default = {} if self.default is None else {"default": self.default}
        return {
            "type": "integer",
            "description": self.description,
            "minimum": self.least,
            "maximum": self.most,
            **default,
        }


@dataclass(frozen=True, kw_only=True)
class TextList:
    """A list of strings that are not blank."""

    name: str
    description: str
    most: int
    longest: int
    least: int = 1
    typed: bool = False
    """True if a run types the texts into a field of the phone."""
    required: bool = False
    missing: FarmError | None = None

    @property
    def default(self) -> list[str]:
        """An absent list is empty."""
        return []

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the list; every wrong place of it is named."""
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            message = f"must be a list of {self.least} to {self.most} strings"
            problems.append(FieldProblem(field=where, message=message))
            return value
        for place, text in enumerate(value):
            if not isinstance(text, str) or not text.strip() or len(text) > self.longest:
                message = f"must be a string of 1 to {self.longest} characters that is not blank"
                problems.append(FieldProblem(field=f"{where}[{place}]", message=message))
            elif self.typed:
                problems += untypeable(text, f"{where}[{place}]")
        return value

    def schema(self) -> Schema:
        """Return the list's and its strings' limits."""
        return {
            "type": "array",
            "description": self.description,
            "items": _text(self.longest, typed=self.typed),
            "minItems": self.least,
            "maxItems": self.most,
        }


@dataclass(frozen=True, kw_only=True)
class FreeObject:
    """An object whose content the controller does not check."""

    name: str
    description: str
    required: bool = False
    missing: FarmError | None = None

    @property
    def default(self) -> dict[str, Any]:
        """An absent object is empty."""
        return {}

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the object."""
        if not isinstance(value, dict):
            problems.append(FieldProblem(field=where, message="must be an object"))
        return value

    def schema(self) -> Schema:
        """Return that it is an object."""
        return {"type": "object", "description": self.description}


@dataclass(frozen=True, kw_only=True)
class EditStep:
    """One step as read: its action and the params given for it."""

    action: str
    params: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class EditSteps:
    """A list of steps `{"action": ..., "params": {...}}`, each with at least one known param."""

    name: str
    description: str
    most: int
    actions: Mapping[str, tuple[Text, ...]] = field(repr=False)
    required: bool = False
    missing: FarmError | None = None

    @property
    def default(self) -> list[EditStep]:
        """An absent list is empty."""
        return []

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the Steps; FarmError `unsupported_action` for one nobody can do."""
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            message = f"must be a list of 1 to {self.most} steps"
            problems.append(FieldProblem(field=where, message=message))
            return []
        return [self._step(step, f"{where}[{n}]", problems) for n, step in enumerate(value)]

    def _step(self, step: Any, where: str, problems: Problems) -> EditStep | None:
        if not isinstance(step, dict):
            message = "must be an object with `action` and `params`"
            problems.append(FieldProblem(field=where, message=message))
            return None
        action = step.get("action")
        if not isinstance(action, str):
            message = "is required, and must be a string"
            problems.append(FieldProblem(field=f"{where}.action", message=message))
            return None
        if action not in self.actions:
            known = ", ".join(self.actions)
            raise FarmError(
                Reason.UNSUPPORTED_ACTION,
                f"the action {action[:64]!r} is not supported; use {known}",
                detail=action[:64],
                problems=(FieldProblem(field=f"{where}.action", message=f"must be {known}"),),
            )
        fields = {field.name: field for field in self.actions[action]}
        params = step.get("params")
        given = (
            {name: param for name, param in params.items() if param is not None}
            if isinstance(params, dict)
            else {}
        )
        if not given.keys() & fields.keys():
            message = f"must contain at least one of {', '.join(fields)}"
            problems.append(FieldProblem(field=f"{where}.params", message=message))
        for name, param in given.items():
            if name in fields:
                fields[name].read(param, f"{where}.params.{name}", problems)
            else:
                message = f"is not supported; use {', '.join(fields)}"
                problems.append(FieldProblem(field=f"{where}.params.{name}", message=message))
        # In the order that is declared, whatever the order they came in.
        return EditStep(
            action=action, params={name: given[name] for name in fields if name in given}
        )

    def schema(self) -> Schema:
        """Return the list's limits and what each action's params may be."""
        return {
            "type": "array",
            "description": self.description,
            "items": {"oneOf": [self._step_schema(action) for action in self.actions]},
            "minItems": 1,
            "maxItems": self.most,
        }

    def _step_schema(self, action: str) -> Schema:
        fields = self.actions[action]
        params = {
            "type": "object",
            "properties": {field.name: or_null(field.schema()) for field in fields},
            "additionalProperties": {"type": "null"},
            "anyOf": [
                {"properties": {field.name: {"type": "string"}}, "required": [field.name]}
                for field in fields
            ],
        }
        return {
            "type": "object",
            "properties": {"action": {"const": action}, "params": params},
            "required": ["action", "params"],
        }


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may also be null."""
    return schema | {"type": [schema["type"], "null"]}


def untypeable(text: str, where: str) -> Problems:
    """Return what is wrong with a text that a run shall type; nothing when it can."""
    found = sorted(set(re.findall(UNTYPEABLE, text)))
    if not found:
        return []
    codes = ", ".join(f"U+{ord(character):04X}" for character in found[:5])
    message = f"contains characters that cannot be typed into a field on a phone: {codes}"
    return [FieldProblem(field=where, message=message)]


def _text(most: int, *, typed: bool) -> Schema:
    pattern = f"^(?![\\s\\S]*{UNTYPEABLE})[\\s\\S]*\\S" if typed else "\\S"
    return {"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern}


def is_http(url: str) -> bool:
    """Tell whether *url* is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False
