"""Parses JSON strictly: refuses values that a later reader or database could not hold."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias

from phonefarm_common.reasons import FieldProblem

MOST_NESTING: Final = 64
MOST_DIGITS: Final = 100
MOST_PROBLEMS: Final = 50
_TOO_DEEP: Final = f"is nested more than {MOST_NESTING} levels deep; flatten it"
BODY: Final = "body"
"""The field of a problem that concerns the whole body."""


_Trail: TypeAlias = tuple["_Trail", str | int] | None
"""The position of a value: the trail of its container, and its key; cheaper than a path."""


class NotJsonError(Exception):
    """The text is not JSON; the message names the place."""


class NotAcceptableError(Exception):
    """The JSON has values that are refused; `problems` names each."""

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


class _Refused:
    """Stands for a refused value until the search for problems names its path."""

    def __init__(self, message: str) -> None:
        self.message = message


class _Repeating(dict[str, Any]):
    """An object that has a key twice."""

    repeated: str = ""


def _whole(digits: str) -> int | _Refused:
    if len(digits) > MOST_DIGITS:
        return _Refused(f"is a number with more than {MOST_DIGITS} digits; send it as a string")
    return int(digits)


def _fraction(text: str) -> float | _Refused:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        return _Refused("is a number that is too large for a double; send it as a string")
    return value


def _constant(name: str) -> _Refused:
    return _Refused(f"{name} is not JSON; omit it, or send null")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    repeating = _Repeating(members)
    for key, _ in pairs:
        if key in seen:
            repeating.repeated = key
            break
        seen.add(key)
    return repeating


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_fraction, parse_constant=_constant
)


def parse(raw: bytes) -> Any:
    """Return the value of the UTF-8 text *raw*.

    Raise NotJsonError when it is not JSON, and NotAcceptableError for NaN, infinities, repeated
    keys, NUL characters, lone surrogates, more than MOST_NESTING levels and integers of more than
    MOST_DIGITS digits. Key order is kept and integers stay integers.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"the body is not UTF-8: byte {error.start}") from error
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError:
        # The traceback through the parser would help nobody.
        raise NotAcceptableError((FieldProblem(field=BODY, message=_TOO_DEEP),)) from None
    problems = tuple(islice(_problems(value), MOST_PROBLEMS))
    if problems:
        raise NotAcceptableError(problems)
    return value


def dump(value: Any) -> str:
    """Return *value* as compact JSON in ASCII, which no encoder can break on."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def path(location: Iterable[str | int]) -> str:
    """Return `inputs.steps[0].params` for ("inputs", "steps", 0, "params"), BODY for nothing.

    Keys are the caller's: a long or unprintable one is cut and escaped.
    """
    text = ""
    for part in location:
        if isinstance(part, int):
            text = f"{text or BODY}[{part}]"
            continue
        shown = part if len(part) <= 64 else f"{part[:64]}..."
        shown = shown if shown.isprintable() else ascii(shown)[1:-1]
        text = f"{text}.{shown}" if text else shown
    return text or BODY


def text_problem(text: str) -> str | None:
    """Return why no store can hold *text*; None when one can."""
    if "\0" in text:
        return "contains a NUL character; remove it"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "contains an unpaired surrogate; send complete characters"
    return None


def _path(trail: _Trail) -> str:
    parts: list[str | int] = []
    while trail is not None:
        trail, part = trail
        parts.append(part)
    return path(reversed(parts))


def _problems(root: Any) -> Iterator[FieldProblem]:
    """Yield the problems below *root* in reading order, without recursion."""
    # The depth is the number of containers around a value.
    waiting: list[tuple[_Trail, int, Any]] = [(None, 0, root)]
    while waiting:
        trail, depth, value = waiting.pop()
        match value:
            case dict() | list() if depth >= MOST_NESTING:
                yield FieldProblem(field=_path(trail), message=_TOO_DEEP)
            case _Refused():
                yield FieldProblem(field=_path(trail), message=value.message)
            case str():
                if message := text_problem(value):
                    yield FieldProblem(field=_path(trail), message=message)
            case dict():
                if isinstance(value, _Repeating):
                    again = _path((trail, value.repeated))
                    yield FieldProblem(field=again, message="is given twice; send it once")
                for key in value:
                    if message := text_problem(key):
                        yield FieldProblem(
                            field=_path((trail, key)), message=f"the field name {message}"
                        )
                below = reversed(value.items())
                waiting.extend(((trail, k), depth + 1, v) for k, v in below if _holds_more(v))
            case list():
                last = len(value) - 1
                waiting.extend(
                    ((trail, last - back), depth + 1, v)
                    for back, v in enumerate(reversed(value))
                    if _holds_more(v)
                )
            case _:
                pass


def _holds_more(value: Any) -> bool:
    return isinstance(value, str | dict | list | _Refused)
