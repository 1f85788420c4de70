"""Windows: the weekly hours in which the work of an account, phone, group or capability begins."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from phonefarm_controller.model.hours import Hours, Period, period_at

CLOSED: Final = datetime.min.replace(tzinfo=UTC)
"""The value when work may not begin at all."""
NO_END: Final = datetime.max.replace(tzinfo=UTC)
"""The value when no window sets a limit."""
_FRESH: Final = timedelta(weeks=1)
_SEARCHED: Final = timedelta(weeks=5)


class WindowScope(StrEnum):
    """What a window is for; a group is a group of phones."""

    ACCOUNT = "account"
    PHONE = "phone"
    GROUP = "group"
    CAPABILITY = "capability"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Work in its scope begins only while its hours are open.

    Without `may_overrun` it begins only if its time limit ends before they close.
    """

    scope: WindowScope
    name: str
    hours: Hours
    may_overrun: bool
    since: datetime
    by: str
    reason: str

    @property
    def told(self) -> str:
        """Return what it is for, and its hours, for people."""
        return f"{self.scope} {self.name}: {self.hours}"


@dataclass(frozen=True, kw_only=True)
class WindowNow:
    """A window, and whether it is open at present."""

    window: Window
    period: Period


def seen_at(window: Window, now: datetime) -> WindowNow:
    """Return the window as it is now."""
    return WindowNow(window=window, period=period_at(window.hours, now))


class Periods:
    """Remembers the current period of hours, and computes the next when it ends."""

    def __init__(self) -> None:
        self._known: dict[Hours, tuple[datetime, Period]] = {}

    def at(self, hours: Hours, now: datetime) -> Period:
        """Return the period; a clock that was set back is no different from one that went on."""
        known = self._known.get(hours)
        if known is None or not known[0] <= now < (known[1].until or known[0] + _FRESH):
            known = self._known[hours] = now, period_at(hours, now)
        return known[1]

    def end(self, windows: Iterable[Window], now: datetime) -> datetime:
        """Return by when a run that begins now must have ended: CLOSED, a moment or NO_END."""
        return min((self._end(window, now) for window in windows), default=NO_END)

    def _end(self, window: Window, now: datetime) -> datetime:
        period = self.at(window.hours, now)
        if not period.open:
            return CLOSED
        return NO_END if window.may_overrun else period.until or NO_END

    def changes_at(self, windows: Iterable[Window], now: datetime) -> datetime:
        """Return until when all of them stay as they are; at most a week."""
        ends = [self.at(window.hours, now).until or NO_END for window in windows]
        return min([now + _FRESH, *ends])


@dataclass(frozen=True, kw_only=True)
class Openings:
    """The times at which runs that begin now must have ended; without an entry: no limit.

    It is so at every instant from `since` on and before `until`.
    """

    accounts: Mapping[str, datetime] = field(default_factory=dict)
    phones: Mapping[str, datetime] = field(default_factory=dict)
    capabilities: Mapping[str, datetime] = field(default_factory=dict)
    since: datetime = CLOSED
    until: datetime = NO_END


NO_WINDOWS: Final = Openings()


def openings_of(
    windows: Sequence[Window],
    memberships: Mapping[str, Collection[str]],
    periods: Periods,
    now: datetime,
) -> Openings:
    """Return by when runs must end; *memberships* has the groups of phones that are in any."""
    ends: dict[WindowScope, dict[str, datetime]] = defaultdict(dict)
    for window in windows:
        end = periods.end([window], now)
        if end != NO_END:
            ends[window.scope][window.name] = end
    phones = ends[WindowScope.PHONE]
    if ends[WindowScope.GROUP]:
        for phone_id, groups in memberships.items():
            for group in groups:
                end = ends[WindowScope.GROUP].get(group, NO_END)
                if end < phones.get(phone_id, NO_END):
                    phones[phone_id] = end
    return Openings(
        accounts=ends[WindowScope.ACCOUNT],
        phones=phones,
        capabilities=ends[WindowScope.CAPABILITY],
        since=now,
        until=periods.changes_at(windows, now),
    )


def windows_for(
    windows: Iterable[Window],
    *,
    capability: str,
    account_id: str | None = None,
    phone_id: str | None = None,
    groups: Collection[str] = (),
) -> list[Window]:
    """Return the windows of this work; None leaves out what is not known or not used."""
    names: Mapping[WindowScope, Collection[str | None]] = {
        WindowScope.ACCOUNT: (account_id,),
        WindowScope.PHONE: (phone_id,),
        WindowScope.GROUP: groups,
        WindowScope.CAPABILITY: (capability,),
    }
    return [window for window in windows if window.name in names[window.scope]]


@lru_cache(maxsize=256)  # an explanation asks for the same phones and items again and again
def next_start(windows: tuple[Window, ...], instant: datetime, seconds: float) -> datetime | None:
    """Return when a run of at most so many seconds may begin; None if not within five weeks.

    All windows are open then, and those that must not be overrun stay open for so long.
    """
    moment = instant
    while moment - instant <= _SEARCHED:
        later = [_later(window, moment, seconds) for window in windows]
        if all(start == moment for start in later):
            return moment
        known = [start for start in later if start is not None]
        if len(known) < len(later):
            return None
        moment = max(known)
    return None


def _later(window: Window, moment: datetime, seconds: float) -> datetime | None:
    """Return *moment* if work of the window may begin then, else the next change of its hours."""
    period = period_at(window.hours, moment)
    until = period.until
    fits = window.may_overrun or until is None or moment + timedelta(seconds=seconds) <= until
    return moment if period.open and fits else until
