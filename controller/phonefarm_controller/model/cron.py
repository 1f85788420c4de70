"""Cron expressions in a time zone: the instants at which they fire.

Fields are those of the library `cronsim`: minute, hour, day of the month, month, day of the week.
Summer time is that of Debian's cron. A time that summer time skips comes when the clock has been
put forward; a time that comes twice comes the first time only. Where the minute or the hour begins
with `*`, the real time counts: every real hour, also in the hour that comes twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from phonefarm_controller.model.hours import jump_between, offset_at, zone_of

LONGEST_CRON: Final = 100
_FIELDS: Final = 5
_SOME_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - the wall's
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_EXAMPLE: Final = "for example `30 9 * * mon-fri`"


class UnknownZoneError(Exception):
    """This machine does not know the time zone; the text names it."""


@dataclass(frozen=True, kw_only=True)
class Cron:
    """An expression in its normal spelling (`normal_cron`), and the name of its zone."""

    expression: str
    zone: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.expression} {self.zone}"


def normal_cron(text: str) -> str:
    """Return the expression in its one spelling; ValueError says what is wrong."""
    words = text.split()
    if len(text) > LONGEST_CRON:
        raise ValueError(f"must have at most {LONGEST_CRON} characters")
    if len(words) != _FIELDS:
        raise ValueError(
            "must have five fields (minute, hour, day of the month, month and day of the week), "
            f"{_EXAMPLE}"
        )
    normal = " ".join(words)
    try:
        found = next(CronSim(normal, _SOME_TIME), None)
    except CronSimError as error:
        wrong = str(error)
        raise ValueError(f"is wrong: {wrong[0].lower()}{wrong[1:]}; {_EXAMPLE}") from error
    if found is None:
        raise ValueError("names days that never come")
    return normal


def instants_after(cron: Cron, instant: datetime) -> Iterator[datetime]:
    """Yield the instants later than *instant*, in UTC, each once and in order.

    They end when none comes for 50 years. Raises UnknownZoneError.
    """
    zone = zone_of(cron.zone)
    if zone is None:
        raise UnknownZoneError(cron.zone)
    minute, hour, *_ = cron.expression.split()
    if minute.startswith("*") or hour.startswith("*"):
        yield from _in_real_time(cron.expression, zone, instant)
    else:
        yield from _once_a_day(cron.expression, zone, instant)


def next_after(cron: Cron, instant: datetime) -> datetime | None:
    """Return the first instant later than *instant*; None if there is none in 50 years."""
    return next(instants_after(cron, instant), None)


# The library steps over minutes where a zone's clock moves by half an hour, or where a day begins
# in a skipped hour. So it only says which times a wall clock without jumps would show.


def _once_a_day(expression: str, zone: ZoneInfo, instant: datetime) -> Iterator[datetime]:
    last = instant
    for local in CronSim(expression, instant.astimezone(zone).replace(tzinfo=None)):
        found = _first_shown(local, zone)
        if found > last:  # not so for the second pass of an hour, and after a skipped one
            yield found
            last = found


def _first_shown(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when the wall clock first shows that time, or, if it is skipped, the next minute."""
    while True:
        found = local.replace(tzinfo=zone).astimezone(UTC)
        if found.astimezone(zone).replace(tzinfo=None) == local:
            return found
        local += _MINUTE


def _in_real_time(expression: str, zone: ZoneInfo, instant: datetime) -> Iterator[datetime]:
    moment, since, offset = instant, instant, offset_at(zone, instant)
    while True:
        wall = (moment + offset).replace(tzinfo=None)
        local = next(CronSim(expression, wall), None)
        if local is None:
            return
        found = local.replace(tzinfo=UTC) - offset
        jump = _first_jump(zone, since, found)
        if jump is None:
            yield found
            moment = since = found
        else:  # from there on the wall shows other times: look again, at those
            moment, since, offset = jump - _SECOND, jump, offset_at(zone, jump)


def _first_jump(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first change of the zone's offset in (start, end]; none changes twice a day."""
    while start < end:
        after = min(start + _DAY, end)
        if offset_at(zone, start) != offset_at(zone, after):
            return jump_between(zone, start, after)
        start = after
    return None
