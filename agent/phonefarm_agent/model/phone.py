"""The report of one phone as this host sees it."""

from dataclasses import dataclass, replace
from typing import Self

from phonefarm_common.wire_enums import Readiness, StageState, Transport


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of becoming ready; docs/phones.md lists them."""

    name: str
    state: StageState
    limit_seconds: float
    seconds: float  # since it was entered, or how long it took
    error: str = ""  # the last one, also of an earlier try


@dataclass(frozen=True, kw_only=True)
class PhoneFacts:
    """The facts that were last read from a phone; None if never read."""

    battery_percent: int | None = None
    battery_celsius: float | None = None
    storage_free_bytes: int | None = None


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
    stages: tuple[Stage, ...] = ()
    needs_hands: str = ""  # what a person must do at the phone before anything else helps
    facts: PhoneFacts = PhoneFacts()

    def essence(self) -> Self:
        """Return the report without the values that change all the time.

        The epoch rises with every run, and the controller is who raises it.
        """
        stages = tuple(replace(stage, seconds=0.0) for stage in self.stages)
        return replace(self, epoch=0, stages=stages, facts=PhoneFacts())


class PhoneNotFitError(Exception):
    """The phone is not fit for work now; the text is the reason for the controller."""


class PhoneFailedError(Exception):
    """A phone or the adb server failed; the text says what failed."""
