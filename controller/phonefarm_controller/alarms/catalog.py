"""What may be wrong with a controller while it runs, how long each may last, and what helps."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final, Self


class Verdict(StrEnum):
    """How bad it is: with `fail` work stands still, or nobody can tell."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Sign(StrEnum):
    """What a watchdog watches."""

    LOOP_LAG = "event_loop_late"
    LOOP_SILENT = "loop_silent"
    DATABASE_AWAY = "database_away"
    SCHEDULER_STUCK = "scheduler_stuck"
    DIRTY_OLD = "dirty_old"
    CALLBACKS_LATE = "callbacks_late"
    HERALD_DEAF = "herald_deaf"
    EVIDENCE_AWAY = "evidence_away"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line for people; the remedy is empty only where all is well."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""


_LOG: Final = "read the controller's log, then restart it: runs go on meanwhile"
REMEDIES: Final[Mapping[Sign, tuple[Verdict, str]]] = {
    Sign.LOOP_LAG: (Verdict.FAIL, "give the machine more of a processor; if it lasts: " + _LOG),
    Sign.LOOP_SILENT: (Verdict.FAIL, _LOG),
    Sign.DATABASE_AWAY: (Verdict.FAIL, "see whether PostgreSQL runs and answers; --database"),
    Sign.SCHEDULER_STUCK: (Verdict.FAIL, f"phonefarm processes explain PROCESS; {_LOG}"),
    Sign.DIRTY_OLD: (
        Verdict.WARN,
        "look at the phone and its agent's log; phonefarm phones return PHONE when it is clean",
    ),
    Sign.CALLBACKS_LATE: (
        Verdict.WARN,
        "see that a gateway runs and the receiver answers: phonefarm processes deliveries PROCESS",
    ),
    Sign.HERALD_DEAF: (
        Verdict.WARN,
        "controllers hear each other late: see the log for herald.interrupted, and PostgreSQL's",
    ),
    Sign.EVIDENCE_AWAY: (
        Verdict.WARN,
        "see whether the place of --evidence is there: agents keep what runs leave until it is",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds: how long each may last, and how often it is looked at."""

    look: float = 5
    loop_late: float = 2
    silent_least: float = 10
    """No loop is called silent before this, however short its period."""
    database: float = 5
    stuck: float = 15
    dirty: float = 300
    callbacks: float = 600
    deaf: float = 20

    def scaled(self, factor: float) -> Self:
        """Return the limits times *factor*, but none so short that a busy machine trips it."""
        return replace(
            self,
            **{f.name: max(getattr(self, f.name) * factor, _LEAST[f.name]) for f in fields(self)},
        )


SILENT_PERIODS: Final = 3
"""A loop that has not been round for so many of its periods is silent."""
_LEAST: Final[Mapping[str, float]] = {
    "look": 0.5,
    "loop_late": 2,
    "silent_least": 5,
    "database": 5,
    "stuck": 5,
    "dirty": 10,
    "callbacks": 30,
    "deaf": 20,
}
