"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is: with `fail` the agent, or the phone it is about, can do no work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line for people; the remedy is empty only where all is well."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, verdict=Verdict.OK, text=text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """Return that work goes on, but something should be mended."""
    return Finding(check=check, verdict=Verdict.WARN, text=text, remedy=remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """Return that no work can be done before this is mended."""
    return Finding(check=check, verdict=Verdict.FAIL, text=text, remedy=remedy)
