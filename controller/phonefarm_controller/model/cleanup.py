"""What is done about a phone behind each run: the policy of its pool."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class CleanupStep(StrEnum):
    """A step of a clean-up, by its name in plan.json (docs/seams.md)."""

    STOP_APPS = "stop_apps"
    REMOVE_ADDED = "remove_added"
    HOME = "home"


EVERY_STEP: Final = frozenset(CleanupStep)


def wanted(
    groups: Iterable[str], policies: Mapping[str, frozenset[CleanupStep]]
) -> frozenset[CleanupStep]:
    """Return the steps for a phone in these groups: all that any of them wants.

    A group without a policy says nothing; without any policy every step is done.
    """
    told = [policies[group] for group in groups if group in policies]
    return frozenset().union(*told) if told else EVERY_STEP
