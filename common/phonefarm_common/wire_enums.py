"""The values that two programs name alike: each stands for an enum of `protos/phonefarm/v1`.

Some are stored as this text too: it never changes.
"""

from enum import StrEnum
from typing import Final


class Transport(StrEnum):
    """How adb reaches a phone, as its agent sees it."""

    ABSENT = "absent"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    NO_PERMISSION = "no_permission"
    RECOVERY = "recovery"
    BOOTLOADER = "bootloader"
    ONLINE = "online"


class Readiness(StrEnum):
    """Whether a phone can do work, as far as its agent knows."""

    UNKNOWN = "unknown"
    PREPARING = "preparing"
    READY = "ready"
    UNFIT = "unfit"
    COOLING = "cooling"


class StageState(StrEnum):
    """How far one stage of readiness has come."""

    WAITING = "waiting"  # an earlier one has not passed
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"  # answered, and the answer is no
    UNTOLD = "untold"  # no answer that says yes or no; what was known before stays and grows old


class CleanupStep(StrEnum):
    """A step of a clean-up, done and then verified; by its name in plan.json (docs/seams.md)."""

    STOP_APPS = "stop_apps"
    REMOVE_ADDED = "remove_added"
    HOME = "home"


EVERY_CLEANUP_STEP: Final = frozenset(CleanupStep)


class RunOutcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class DeliveryOutcome(StrEnum):
    """How an attempt to deliver a callback ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
