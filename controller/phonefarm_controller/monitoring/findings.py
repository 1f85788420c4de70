"""Builds the sentences of the doctor: numbers with their nouns, and lists of names."""

from collections.abc import Sequence
from typing import Final

from phonefarm_controller.alarms import Finding, Severity

MOST_NAMES: Final = 5
"""One finding lists at most this many names, and only counts the others."""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, verdict=Severity.OK, text=text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """Return that something needs repair while work continues."""
    return Finding(check=check, verdict=Severity.WARN, text=text, remedy=remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """Return that work has stopped."""
    return Finding(check=check, verdict=Severity.FAIL, text=text, remedy=remedy)


def counted(count: int, noun: str) -> str:
    """Return the number with its noun: `1 phone`, `2 phones`."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f", and {more} more" if more > 0 else "")
