"""Limits: how many runs an account begins a day, how far apart, and how many run at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from phonefarm_controller.model.hours import zone_of
from phonefarm_controller.model.items import NO_ACCOUNT


class LimitKind(StrEnum):
    """What a limit counts."""

    RUNS_PER_DAY = "runs_per_day"
    SECONDS_BETWEEN_RUNS = "seconds_between_runs"
    RUNS_AT_ONCE = "runs_at_once"


class LimitScope(StrEnum):
    """Whose runs a limit counts; a group is a group of phones, an agent stands for its host."""

    ACCOUNT = "account"
    EVERY_ACCOUNT = "every_account"
    GROUP = "group"
    APP = "app"
    AGENT = "agent"


OF_ACCOUNTS: Final = frozenset({LimitScope.ACCOUNT, LimitScope.EVERY_ACCOUNT})
SCOPES: Final[Mapping[LimitKind, frozenset[LimitScope]]] = {
    LimitKind.RUNS_PER_DAY: OF_ACCOUNTS,
    LimitKind.SECONDS_BETWEEN_RUNS: OF_ACCOUNTS,
    LimitKind.RUNS_AT_ONCE: frozenset({LimitScope.GROUP, LimitScope.APP, LimitScope.AGENT}),
}
MOST: Final[Mapping[LimitKind, int]] = {
    LimitKind.RUNS_PER_DAY: 10_000,
    LimitKind.SECONDS_BETWEEN_RUNS: 86_400,
    LimitKind.RUNS_AT_ONCE: 100_000,
}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit. `zone` says whose day counts, and is empty for other kinds than RUNS_PER_DAY."""

    kind: LimitKind
    scope: LimitScope
    name: str  # empty for EVERY_ACCOUNT
    value: int
    zone: str
    since: datetime
    by: str
    reason: str

    @property
    def told(self) -> str:
        """Return what it is for, and what it allows, for people."""
        whose = f"{self.scope} {self.name}".strip().replace("_", " ")
        match self.kind:
            case LimitKind.RUNS_PER_DAY:
                return f"{whose}: at most {self.value} a day, {self.zone}"
            case LimitKind.SECONDS_BETWEEN_RUNS:
                return f"{whose}: {self.value} s between runs"
            case LimitKind.RUNS_AT_ONCE:
                return f"{whose}: at most {self.value} at once"


@dataclass(frozen=True, kw_only=True)
class AccountRuns:
    """The runs of an account that passed the start gate: how many of today, and the last end."""

    today: int = 0
    last_end: datetime | None = None


NO_RUNS: Final = AccountRuns()


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A limit that keeps a run from beginning; until when, if time alone lifts it."""

    limit: Limit
    until: datetime | None = None


class AccountLimits:
    """The limits of accounts; an account's own replaces that of every account, for each kind."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._limits = {
            (limit.kind, limit.name): limit for limit in limits if limit.scope in OF_ACCOUNTS
        }
        self._days: dict[str, tuple[datetime, datetime] | None] = {}

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._limits)

    def of(self, account_id: str) -> list[Limit]:
        """Return the limits of the account; NO_ACCOUNT has none."""
        if account_id == NO_ACCOUNT:
            return []
        found = (
            self._limits.get((kind, account_id), self._limits.get((kind, "")))
            for kind in (LimitKind.RUNS_PER_DAY, LimitKind.SECONDS_BETWEEN_RUNS)
        )
        return [limit for limit in found if limit is not None]

    def day(self, limit: Limit, now: datetime) -> tuple[datetime, datetime] | None:
        """Return the present day of the limit's zone; None if the zone is not known here."""
        day = self._days.get(limit.zone)
        if day is None or not day[0] <= now < day[1]:
            day = self._days[limit.zone] = day_at(limit.zone, now)
        return day

    def reached(self, account_id: str, runs: AccountRuns, now: datetime) -> list[Reached]:
        """Return the limits that keep the account from beginning a run now."""
        return [
            reached
            for limit in self.of(account_id)
            if (reached := self._reached(limit, runs, now)) is not None
        ]

    def _reached(self, limit: Limit, runs: AccountRuns, now: datetime) -> Reached | None:
        if limit.kind is LimitKind.SECONDS_BETWEEN_RUNS:
            if runs.last_end is None:
                return None
            until = runs.last_end + timedelta(seconds=limit.value)
            return Reached(limit=limit, until=until) if now < until else None
        day = self.day(limit, now)
        if day is None:
            return Reached(limit=limit)
        return Reached(limit=limit, until=day[1]) if runs.today >= limit.value else None


def day_at(zone_name: str, instant: datetime) -> tuple[datetime, datetime] | None:
    """Return when the zone's day of the instant began, and when it ends; None: unknown zone.

    A day begins with the first instant of its date, also where the clock skips midnight.
    """
    zone = zone_of(zone_name)
    if zone is None:
        return None

    def first(days: int) -> datetime:
        date = instant.astimezone(zone).date() + timedelta(days=days)
        return datetime.combine(date, time(), tzinfo=zone).astimezone(UTC)

    # The clock may be put back over midnight: the next date has begun already then.
    days = 1 if first(1) <= instant else 0
    return first(days), first(days + 1)


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """A run of callers' work that has been claimed and has not ended."""

    app: str
    agent_id: str
    groups: Collection[str]


class Room:
    """How many more runs may be at work at once, beside those that are."""

    def __init__(self, limits: Iterable[Limit] = (), at_work: Iterable[AtWork] = ()) -> None:
        self._limits = [limit for limit in limits if limit.kind is LimitKind.RUNS_AT_ONCE]
        self._left = {(limit.scope, limit.name): limit.value for limit in self._limits}
        for run in at_work:
            self.take(run)

    def full(self, run: AtWork) -> list[Limit]:
        """Return the limits that leave no room for one more such run."""
        keys = set(_keys(run))
        return [
            limit
            for limit in self._limits
            if (limit.scope, limit.name) in keys and self._left[limit.scope, limit.name] <= 0
        ]

    def take(self, run: AtWork) -> None:
        """Count one more run at work."""
        for key in _keys(run):
            if key in self._left:
                self._left[key] -= 1


def _keys(run: AtWork) -> list[tuple[LimitScope, str]]:
    return [
        (LimitScope.APP, run.app),
        (LimitScope.AGENT, run.agent_id),
        *((LimitScope.GROUP, group) for group in run.groups),
    ]
