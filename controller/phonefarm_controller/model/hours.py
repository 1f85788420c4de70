"""Weekly hours in a time zone: when they are open, and when that changes next.

Hours are open at an instant if the clock on a wall of the zone shows a time within them. So the
minutes of an hour that summer time skips do not come, and those of an hour that comes twice are
open both times. The zones are those of the IANA time zone database (`zoneinfo`).
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_SPANS: Final = 50
LONGEST_ZONE: Final = 64
FORMAT: Final = (
    "DAYS HH:MM-HH:MM, for example `mon-fri 09:00-17:00`, `sat,sun 22:00-02:00` or `daily "
    "00:00-24:00`"
)
LONGEST_SPAN: Final = 100
_SPAN: Final = re.compile(r"([a-z,-]+) (\d\d):([0-5]\d)-(\d\d):([0-5]\d)", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]*")
_NO_PLACES: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Names in some copies of the IANA database that are no zone, or the machine's own zone."""
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_STEP: Final = timedelta(hours=3)
"""No zone changes its offset twice within this time."""
_LOOK: Final = timedelta(weeks=1)
_MOST_LOOKS: Final = 4
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Weekly hours, each text in the form that `FORMAT` shows, and the name of their zone."""

    zone: str
    spans: tuple[str, ...]

    def __str__(self) -> str:
        """Return them for people."""
        return f"{', '.join(self.spans)} {self.zone}"


@dataclass(frozen=True, kw_only=True)
class Period:
    """Whether hours are open, and until when this stays so; None: longer than four weeks."""

    open: bool
    until: datetime | None


_Span = tuple[int, int]
"""Begin and end in minutes since Monday 00:00; the end may be in the next week."""


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone; None if this machine does not know it."""
    if not _ZONE.fullmatch(name) or len(name) > LONGEST_ZONE or name in _NO_PLACES:
        return None
    if name.startswith("right/"):  # counts leap seconds, as no clock of ours does
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, as `Europe`
        return None


def normal_span(text: str) -> str:
    """Return the hours in their one spelling; ValueError says what is wrong."""
    text = " ".join(text.lower().split())
    if len(text) > LONGEST_SPAN:
        raise ValueError(f"must have at most {LONGEST_SPAN} characters")
    _spans_of(text)
    return text


def period_at(hours: Hours, instant: datetime) -> Period:
    """Return whether the hours are open, and until when.

    Hours of a zone that this machine does not know are closed: nothing begins by mistake.
    """
    zone = zone_of(hours.zone)
    if zone is None:
        return Period(open=False, until=None)
    now_open = _covers(_week_of(hours.spans), instant.astimezone(zone))
    look = (instant - _EPOCH) // _LOOK
    for number in range(look, look + _MOST_LOOKS + 1):
        changes = _changes(hours, zone, number)
        place = bisect_right(changes, instant)
        if place < len(changes):
            near = changes[place] - instant <= _MOST_LOOKS * _LOOK
            return Period(open=now_open, until=changes[place] if near else None)
    return Period(open=now_open, until=None)


def open_at(hours: Hours, instant: datetime) -> bool:
    """Tell whether the hours are open."""
    return period_at(hours, instant).open


def next_open(hours: Hours, instant: datetime) -> datetime | None:
    """Return the first instant, from this one on, at which they are open; None within 4 weeks."""
    period = period_at(hours, instant)
    return instant if period.open else period.until


def closes_at(hours: Hours, instant: datetime) -> datetime | None:
    """Return when they close; *instant* if they are closed, None if not within four weeks."""
    period = period_at(hours, instant)
    return period.until if period.open else instant


@lru_cache(maxsize=4096)  # an explanation steps through five weeks, a list asks for every window
def _changes(hours: Hours, zone: ZoneInfo, look: int) -> tuple[datetime, ...]:
    """Return when the hours open and close in one week, counted from `_EPOCH`, in order."""
    week, start = _week_of(hours.spans), _EPOCH + look * _LOOK
    found = []
    is_open = _covers(week, start.astimezone(zone))
    for moment in _edges(week, zone, start, start + _LOOK):
        if _covers(week, moment.astimezone(zone)) is not is_open:
            is_open = not is_open
            found.append(moment)
    return tuple(found)


def _covers(week: Sequence[_Span], local: datetime) -> bool:
    minute = local.weekday() * _DAY + local.hour * 60 + local.minute
    return any(first <= minute < last or first <= minute + _WEEK < last for first, last in week)


def _edges(week: Sequence[_Span], zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Return, in order, every instant after *start* and up to *end* at which they may change."""
    found = set(_jumps(zone, start, end))
    minutes = {minute % _WEEK for span in week for minute in span}
    day = start.astimezone(zone).date() - timedelta(days=1)
    while day <= end.astimezone(zone).date() + timedelta(days=1):
        for minute in minutes:
            if minute // _DAY == day.weekday():
                found.update(_instants(day, minute % _DAY, zone))
        day += timedelta(days=1)
    return sorted(moment for moment in found if start < moment <= end)


def _instants(day: date, minute: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield when the wall clock shows that minute: twice where an hour comes twice."""
    local = datetime.combine(day, time(minute // 60, minute % 60), zone)
    for fold in (0, 1):
        yield local.replace(fold=fold).astimezone(UTC)


def _jumps(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield when the wall clock is put forward or back."""
    while start < end:
        after = min(start + _STEP, end)
        if offset_at(zone, start) != offset_at(zone, after):
            yield jump_between(zone, start, after)
        start = after


def jump_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the whole second of the one change between two instants."""
    first, last = int(before.timestamp()), -int(-after.timestamp() // 1)
    offset = offset_at(zone, datetime.fromtimestamp(first, UTC))
    while last - first > 1:
        middle = (first + last) // 2
        if offset_at(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            first = middle
        else:
            last = middle
    return datetime.fromtimestamp(last, UTC)


def offset_at(zone: ZoneInfo, instant: datetime) -> timedelta:
    """Return by how much the zone's clock is ahead of UTC."""
    return instant.astimezone(zone).utcoffset() or timedelta(0)


@cache
def _week_of(spans: tuple[str, ...]) -> tuple[_Span, ...]:
    return tuple(span for text in spans for span in _spans_of(text))


def _spans_of(text: str) -> list[_Span]:
    """Return a span for each day; ValueError says what is wrong."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"must have the form {FORMAT}")
    days, *digits = found.groups()
    from_hour, from_minute, to_hour, to_minute = map(int, digits)
    first, last = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if first >= _DAY or last > _DAY:
        raise ValueError("must begin between 00:00 and 23:59, and end at 24:00 at the latest")
    if first == last:
        raise ValueError("must not begin and end at the same time; a whole day is 00:00-24:00")
    length = last - first if last > first else last + _DAY - first
    begins = [day * _DAY + first for day in _days_of(days)]
    return [(begin, begin + length) for begin in begins]


def _days_of(text: str) -> list[int]:
    if text == "daily":
        return list(range(7))
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            raise ValueError(f"must name days as {', '.join(DAYS)}, `mon-fri` or `daily`")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return found
