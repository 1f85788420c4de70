"""Decides of a history whether each promise was kept. Pure: it reads values and returns values."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from faults import on_callers, on_phones, on_work
from faults.history import History, Violation

PROMISES: Final[Mapping[str, Callable[[History], Iterator[Violation]]]] = {
    rule.__name__: rule
    for rule in (
        on_callers.answered,
        on_callers.kept,
        on_callers.repeated,
        on_callers.told,
        on_work.consistent,
        on_work.ended_once,
        on_work.cancelled,
        on_work.in_time,
        on_work.retried,
        on_work.reported_once,
        on_work.acknowledged,
        on_phones.one_driver,
        on_phones.fenced,
        on_phones.posted_once,
    )
}
"""Each promise by the name its violations carry."""


def violations(history: History) -> list[Violation]:
    """Return every broken promise with what shows it; an empty list for a history without one."""
    return [found for rule in PROMISES.values() for found in rule(history)]
