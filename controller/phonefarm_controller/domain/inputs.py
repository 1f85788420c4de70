"""Reading a capability's inputs: every wrong field is named, all at once."""

from collections.abc import Mapping
from typing import Any

from phonefarm_common.reasons import FarmError, FieldProblem, Reason


class Inputs:
    """Reads typed values from a JSON object and collects what is wrong with it.

    Call the readers, then `finish`; a reader that met a problem returns a harmless value.
    """

    def __init__(self, values: Mapping[str, Any], *, path: str = "inputs") -> None:
        self._values = values
        self._path = path
        self._known: set[str] = set()
        self.problems: list[FieldProblem] = []

    def problem(self, name: str, message: str) -> None:
        """Record that the field *name* is wrong."""
        field = f"{self._path}.{name}" if name else self._path
        self.problems.append(FieldProblem(field=field, message=message))

    def text(self, name: str, *, most: int, required: bool = True) -> str | None:
        """Return a non-blank string of at most *most* characters; None when absent."""
        value = self._take(name)
        if value is None:
            if required:
                self.problem(name, "is required")
            return None
        if not isinstance(value, str) or not value.strip():
            self.problem(name, "must be a string that is not blank")
        elif len(value) > most:
            self.problem(name, f"must be at most {most} characters, has {len(value)}")
        else:
            return value
        return None

    def integer(self, name: str, *, least: int, most: int, default: int) -> int:
        """Return a whole number between *least* and *most*; *default* when absent."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(name, "must be a whole number")
        elif not least <= value <= most:
            self.problem(name, f"must be between {least} and {most}, not {value}")
        else:
            return value
        return default

    def texts(self, name: str, *, least: int, most: int, longest: int) -> list[str]:
        """Return a list of *least* to *most* non-blank strings."""
        value = self._take(name)
        if value is None:
            self.problem(name, "is required")
        elif not isinstance(value, list) or not least <= len(value) <= most:
            self.problem(name, f"must be a list of {least} to {most} strings")
        else:
            for place, text in enumerate(value):
                if not isinstance(text, str) or not text.strip() or len(text) > longest:
                    message = f"must be a string of 1 to {longest} characters that is not blank"
                    self.problem(f"{name}[{place}]", message)
            return [text for text in value if isinstance(text, str)]
        return []

    def anything(self, name: str) -> Any:
        """Return the value as it is, None when absent; the caller judges it."""
        return self._take(name)

    def finish(self) -> None:
        """Raise FarmError when a field was wrong or is not known."""
        for name in sorted(self._values.keys() - self._known):
            raise FarmError(
                Reason.UNSUPPORTED_INPUT,
                f"the input {name!r} is not supported by this capability",
                detail=name,
                problems=(FieldProblem(field=f"{self._path}.{name}", message="is not supported"),),
            )
        if self.problems:
            raise invalid(*self.problems)

    def _take(self, name: str) -> Any:
        self._known.add(name)
        return self._values.get(name)


def invalid(*problems: FieldProblem) -> FarmError:
    """Return the error for a request with wrong fields."""
    sentence = "; ".join(f"{problem.field} {problem.message}" for problem in problems)
    return FarmError(Reason.INVALID_REQUEST, sentence, problems=problems)


def invalid_field(field: str, message: str) -> FarmError:
    """Return the error for a request with one wrong field."""
    return invalid(FieldProblem(field=field, message=message))
