"""A phone as this host sees it."""

from dataclasses import dataclass
from enum import StrEnum


class Transport(StrEnum):
    """How adb reaches a phone."""

    ABSENT = "absent"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    NO_PERMISSION = "no_permission"
    RECOVERY = "recovery"
    BOOTLOADER = "bootloader"
    ONLINE = "online"


class Readiness(StrEnum):
    """Whether a phone could do work, as far as the agent can tell."""

    UNKNOWN = "unknown"
    PREPARING = "preparing"
    READY = "ready"
    UNFIT = "unfit"
    COOLING = "cooling"


@dataclass(frozen=True, kw_only=True)
class PhoneReport:
    """One phone now; `serialno` is empty while the phone was never identified."""

    serialno: str
    adb_serial: str
    transport: Transport
    readiness: Readiness
    reason: str = ""
    model: str = ""
    android_release: str = ""
    epoch: int = 0


class PhoneNotFitError(Exception):
    """A phone cannot be claimed now; the text is the reason the controller gets."""


class PhoneFailedError(Exception):
    """A phone or the adb server did not do what was asked; the text says what was tried."""
