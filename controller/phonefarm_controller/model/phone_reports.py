"""What agents report about phones and hosts, and which changes are worth storing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from phonefarm_common.wire_enums import StageState, Transport

DEGREES: Final = 1.0
PERCENT: Final = 2
STORAGE_PART: Final = 0.01
"""A smaller change of free storage is not stored; otherwise every probe would be a write."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of becoming ready; `seconds` since it was entered, or how long it took."""

    name: str
    state: StageState
    limit_seconds: float
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True)
class PhoneReport:
    """An agent's last report of a phone; a fact that was never read is None."""

    stages: tuple[Stage, ...] = ()
    needs_hands: str = ""  # what a person must do; empty when nobody is needed
    battery_percent: int | None = None
    battery_celsius: float | None = None
    storage_free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class StoredPhoneReport:
    """A phone report as it is stored."""

    report: PhoneReport
    needs_hands_since: datetime | None
    told_at: datetime


@dataclass(frozen=True, kw_only=True)
class UnidentifiedDevice:
    """A device that adb lists and the agent could not identify."""

    adb_serial: str
    transport: Transport
    reason: str
    needs_hands: str


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One cause that affects many phones of a host. An agent's times are by its own clock."""

    incident_id: str
    kind: str
    error: str
    phones: tuple[str, ...]  # ids, or serial numbers that nobody knows
    began_at: datetime
    ended_at: datetime | None
    seen_by: str = "agent"


@dataclass(frozen=True, kw_only=True)
class RecoveryStep:
    """One step an agent took to get a phone back."""

    number: int
    serialno: str
    adb_serial: str
    step: str
    reason: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class HostReport:
    """An agent's report of its host."""

    withheld: str = ""
    incidents: Sequence[Incident] = ()
    recovery: Sequence[RecoveryStep] = ()


def is_news(before: PhoneReport | None, after: PhoneReport) -> bool:
    """Tell whether the report has changed enough to be stored."""
    if before is None:
        return after != PhoneReport()
    return (
        _told(before) != _told(after)
        or _moved(before.battery_percent, after.battery_percent, PERCENT)
        or _moved(before.battery_celsius, after.battery_celsius, DEGREES)
        or _moved(
            before.storage_free_bytes,
            after.storage_free_bytes,
            STORAGE_PART * (before.storage_free_bytes or 0),
        )
    )


def _told(report: PhoneReport) -> tuple[object, ...]:
    return (report.needs_hands, tuple(replace(stage, seconds=0.0) for stage in report.stages))


def _moved(before: float | None, after: float | None, by: float) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) >= max(by, 1e-9)
