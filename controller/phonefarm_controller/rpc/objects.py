"""JSON objects as callers and agents send them, read strictly."""

import json
from typing import Any, Final, NoReturn

DEEPEST: Final = 32
"""Values nested deeper could not be written again everywhere, for want of stack."""


def object_of(text: str) -> dict[str, Any] | None:
    """Return the JSON object, None for anything else; NaN and Infinity are no JSON."""
    value = _value_of(text)
    return value if isinstance(value, dict) else None


def array_of(text: str) -> list[Any] | None:
    """Return the JSON array, None for anything else."""
    value = _value_of(text)
    return value if isinstance(value, list) else None


def _value_of(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    brackets = text.count("{") + text.count("[")
    return None if brackets > DEEPEST and _is_deep(value) else value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _is_deep(value: Any) -> bool:
    wave = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        wave = [
            part
            for whole in wave
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, dict | list)
        ]
        if not wave:
            return False
    return True
