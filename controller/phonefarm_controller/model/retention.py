"""How long ended work is kept: evidence by class, processes as a whole."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from phonefarm_common.wire_enums import RunOutcome

FOREVER: Final = "forever"
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([hd])")


class EvidenceClass(StrEnum):
    """The classes of files, each with its own time; the first class that fits counts."""

    MANIFEST = "manifest"
    """The list of a run's files; it also names files that are gone."""
    VERIFICATION = "verification"
    """The files of a run that an operator requested to verify a capability."""
    SUCCESS = "success"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The files of a run that ended in any other way."""


DAYS: Final[Mapping[EvidenceClass, int | None]] = {
    EvidenceClass.MANIFEST: 365,
    EvidenceClass.VERIFICATION: None,
    EvidenceClass.SUCCESS: 30,
    EvidenceClass.CANCELLED: 30,
    EvidenceClass.FAILED: 90,
}


def _defaults() -> dict[EvidenceClass, timedelta | None]:
    return {each: None if days is None else timedelta(days=days) for each, days in DAYS.items()}


@dataclass(frozen=True, kw_only=True)
class RetentionPolicy:
    """How long each class is kept after its end; None for ever."""

    evidence: Mapping[EvidenceClass, timedelta | None] = field(default_factory=_defaults)
    processes: timedelta | None = None

    def expired(self, of: EvidenceClass, *, since: datetime, now: datetime) -> bool:
        """Tell whether a file of the class has had its time."""
        kept = self.evidence[of]
        return kept is not None and now - since >= kept

    def why(self, of: EvidenceClass) -> str:
        """Return the reason that a removed file's line gets."""
        kept = self.evidence[of]
        told = FOREVER if kept is None else f"{kept.total_seconds() / 86400:g} days"
        return f"retention: {of} is kept for {told}"

    @property
    def shortest(self) -> timedelta | None:
        """Return how old evidence is, at least, that goes; None when all stays for ever."""
        return min(filter(None, self.evidence.values()), default=None)


def class_of(*, kind: str, verification: bool, outcome: str | None) -> EvidenceClass:
    """Return the class of a run's file; *outcome* is how the run ended."""
    if kind == "manifest":
        return EvidenceClass.MANIFEST
    if verification:
        return EvidenceClass.VERIFICATION
    match outcome:
        case RunOutcome.DONE:
            return EvidenceClass.SUCCESS
        case RunOutcome.STOPPED:
            return EvidenceClass.CANCELLED
        case _:
            return EvidenceClass.FAILED


def read_duration(text: str, *, name: str) -> timedelta | None:
    """Return what `30d`, `12h` or `forever` means; ValueError names what is wrong."""
    if text == FOREVER:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{name}: {text!r} must be a time such as 30d or 12h, or {FOREVER}")
    number = int(found[1])
    return timedelta(days=number) if found[2] == "d" else timedelta(hours=number)


def read_retention(evidence: str, processes: str) -> RetentionPolicy:
    """Return the retention that `--keep-evidence` and `--keep-processes` mean; ValueError."""
    kept = _defaults()
    for part in filter(None, (part.strip() for part in evidence.split(","))):
        name, _, text = part.partition("=")
        if name not in set(EvidenceClass):
            known = ", ".join(EvidenceClass)
            raise ValueError(
                f"--keep-evidence: there is no class {name!r}: use {known}, for example failed=30d"
            )
        kept[EvidenceClass(name)] = read_duration(text, name=f"--keep-evidence {name}")
    for each, limit in kept.items():
        if each is not EvidenceClass.VERIFICATION and _longer(limit, kept[EvidenceClass.MANIFEST]):
            raise ValueError(
                f"--keep-evidence: manifests must be kept at least as long as {each} "
                "evidence, because they list these files: add manifest=DURATION"
            )
    whole = read_duration(processes, name="--keep-processes")
    finite = max(filter(None, kept.values()), default=None)
    if whole is not None and _longer(finite, whole):
        raise ValueError(
            "--keep-processes must be at least as long as the longest time of "
            "--keep-evidence, because a process stays as long as its evidence"
        )
    return RetentionPolicy(evidence=kept, processes=whole)


def _longer(one: timedelta | None, other: timedelta | None) -> bool:
    return other is not None and (one is None or one > other)
