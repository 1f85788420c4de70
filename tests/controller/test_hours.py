"""Weekly hours are open when the clock on a wall of their zone says so, in every zone and year."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st
from phonefarm_controller.model import hours as hours_module
from phonefarm_controller.model.hours import (
    DAYS,
    Hours,
    closes_at,
    next_open,
    normal_span,
    open_at,
    period_at,
    zone_of,
)
from phonefarm_controller.model.windows import Window, WindowScope, next_start
from support.examples import at_most, given

ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # once changed at 00:01
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",  # 5:45
    "Pacific/Apia",  # had no 30 December 2011
    "Africa/Casablanca",  # back for Ramadan
    "America/Santiago",  # at midnight: a day begins at 01:00
    "Asia/Pyongyang",
)
MINUTE: Final = timedelta(minutes=1)
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (1995, 2037))
INSTANTS = st.integers(0, int((_LAST - _FIRST).total_seconds())).map(
    lambda seconds: _FIRST + timedelta(seconds=seconds)
)
"""Whole years, and the changes of all zones in them."""
TIMES = st.integers(0, 24 * 60 - 1)


def clock_text(minute: int) -> str:
    """Return the time of a day."""
    return f"{minute // 60:02}:{minute % 60:02}"


@st.composite
def _spans(draw: st.DrawFn) -> str:
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=4, unique=True))
    first = draw(TIMES)
    last = draw(TIMES.filter(lambda minute: minute != first) | st.just(24 * 60))
    return f"{','.join(days)} {clock_text(first)}-{clock_text(last)}"


@st.composite
def _hours(draw: st.DrawFn) -> Hours:
    spans = draw(st.lists(_spans(), min_size=1, max_size=3))
    return Hours(zone=draw(st.sampled_from(ZONES)), spans=tuple(spans))


def wall_says(hours: Hours, instant: datetime) -> bool:
    """Read the clock on the wall, and the texts, as a person does."""
    local = instant.astimezone(ZoneInfo(hours.zone))
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    shown = f"{local:%H:%M}"
    for text in hours.spans:
        days, first, last = text.replace("-", " ").split()
        if first < last:
            if today in days and first <= shown < last:
                return True
        elif (today in days and shown >= first) or (yesterday in days and shown < last):
            return True
    return False


@at_most(600)
@given(_hours(), INSTANTS)
def test_hours_are_open_when_the_wall_says_so(hours: Hours, instant: datetime) -> None:
    """Whatever the zone has done to its clock."""
    assert open_at(hours, instant) is wall_says(hours, instant)


@at_most(200)
@given(_hours(), INSTANTS, st.randoms(use_true_random=False))
def test_a_period_lasts_until_the_hours_change_and_no_longer(
    hours: Hours, instant: datetime, chance: Random
) -> None:
    """They change at its end, and at no minute before."""
    period = period_at(hours, instant)

    end = period.until or instant + timedelta(weeks=4)
    length = (end - instant).total_seconds()
    between = [instant + timedelta(seconds=chance.random() * length) for _ in range(50)]
    between += [end - timedelta(seconds=1)] if length > 1 else []
    assert {wall_says(hours, moment) for moment in between if moment < end} <= {period.open}
    if period.until is not None:
        assert period.until > instant
        assert wall_says(hours, period.until) is not period.open


CHANGES: Final = (
    # The zone, and the last minute before its clock jumps.
    ("Europe/Berlin", "2026-03-29T00:59Z"),
    ("Europe/Berlin", "2026-10-25T00:59Z"),
    ("Australia/Lord_Howe", "2026-04-04T14:59Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:29Z"),
    ("Pacific/Apia", "2011-12-30T09:59Z"),
    ("Africa/Casablanca", "2026-02-15T01:59Z"),
    ("America/Santiago", "2026-09-06T03:59Z"),
    ("America/St_Johns", "2010-11-07T02:30Z"),
    ("Asia/Pyongyang", "2018-05-04T14:59Z"),
)


@pytest.mark.parametrize(("zone", "before"), CHANGES)
def test_every_minute_around_a_change_of_the_clock_is_as_the_wall_says(
    zone: str, before: str
) -> None:
    """From three hours before to three hours after, for hours of any length around it."""
    change = datetime.fromisoformat(before)
    assert ZoneInfo(zone).utcoffset(change.astimezone(ZoneInfo(zone))) is not None
    jump = change.astimezone(ZoneInfo(zone)), (change + MINUTE).astimezone(ZoneInfo(zone))
    minutes = [change + MINUTE * number for number in range(-180, 180)]
    days = ",".join(DAYS[day.weekday()] for day in jump)
    for times in ("02:00-03:00", "01:30-02:30", "23:30-00:30", "00:00-24:00"):
        hours = Hours(zone=zone, spans=(f"{days} {times}",))
        expected = [wall_says(hours, minute) for minute in minutes]

        found = [open_at(hours, minute) for minute in minutes]
        edges = set()
        moment = minutes[0]
        while (until := period_at(hours, moment).until) is not None and until <= minutes[-1]:
            edges.add(until)
            moment = until

        assert found == expected
        changed = {minutes[n] for n in range(1, len(minutes)) if expected[n] is not expected[n - 1]}
        assert edges == changed


def test_the_table_of_the_page_is_so() -> None:
    """docs/scheduling.md: what happens to hours in Berlin when its clock is changed."""
    forward = datetime(2026, 3, 28, 23, tzinfo=UTC)  # Sunday, 00:00
    back = datetime(2026, 10, 24, 22, tzinfo=UTC)

    def opened(text: str, day: datetime) -> list[tuple[str, str]]:
        hours, found = Hours(zone="Europe/Berlin", spans=(text,)), []
        moment, end = day, day + timedelta(hours=20)
        while (start := next_open(hours, moment)) is not None and start < end:
            closing = closes_at(hours, start)
            assert closing is not None
            found.append((f"{start:%H:%M}", f"{closing:%H:%M}"))
            moment = closing
        return found

    assert opened("sun 02:00-03:00", forward) == []
    assert opened("sun 01:00-04:00", forward) == [("00:00", "02:00")]
    assert opened("sun 02:00-03:00", back) == [("00:00", "02:00")]
    assert opened("sun 01:00-02:30", back) == [("23:00", "00:30"), ("01:00", "01:30")]


def test_hours_that_never_close_and_hours_of_an_unknown_zone() -> None:
    """The first are open for longer than anybody looks; the others stay closed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    always = period_at(Hours(zone="Europe/Berlin", spans=("daily 00:00-24:00",)), now)
    lost = period_at(Hours(zone="Mars/Olympus", spans=("daily 00:00-24:00",)), now)

    assert (always.open, always.until) == (True, None)
    assert (lost.open, lost.until) == (False, None)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "../Berlin",
        "Europe/Berlin ",
        "localtime",
        "right/Europe/Berlin",
        "/etc/passwd",
        "x" * 65,
    ],
)
def test_what_is_no_zone(name: str) -> None:
    """A folder, a path, a file of the machine, other seconds and a name that nobody knows."""
    assert zone_of(name) is None


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("mon-fri 09:00-17:00", "mon-fri 09:00-17:00"),
        ("  Sat,SUN   22:00-02:00 ", "sat,sun 22:00-02:00"),
        ("fri-mon 00:00-24:00", "fri-mon 00:00-24:00"),
        ("daily 23:59-00:00", "daily 23:59-00:00"),
    ],
)
def test_a_text_of_hours_has_one_spelling(text: str, normal: str) -> None:
    """Without spaces around it, and in small letters."""
    assert normal_span(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon",
        "09:00-17:00",
        "mon 9:00-17:00",
        "mon 09:00-17:60",
        "mon 09:00-24:01",
        "mon 24:00-24:00",
        "mon 09:00-09:00",
        "monday 09:00-17:00",
        "mon- 09:00-17:00",
        "-mon 09:00-17:00",
        "mon,,tue 09:00-17:00",
        "mon-wed-fri 09:00-17:00",
        "mon 09:00-17:00 tue 09:00-17:00",
        "mon \u0660\u0669:00-17:00",
        "mon," * 30 + "mon 09:00-17:00",
    ],
)
def test_what_is_no_text_of_hours(text: str) -> None:
    """It is refused with the form that is meant, or the reason."""
    with pytest.raises(ValueError, match="must"):
        normal_span(text)


def window(text: str, *, zone: str = "UTC", may_overrun: bool = False) -> Window:
    """Return a window of an account."""
    return Window(
        scope=WindowScope.ACCOUNT,
        name="a",
        hours=Hours(zone=zone, spans=(text,)),
        may_overrun=may_overrun,
        since=datetime(2026, 1, 1, tzinfo=UTC),
        by="ada",
        reason="r",
    )


def test_work_begins_when_all_its_windows_are_open_for_long_enough() -> None:
    """The first such moment; none if there is none, and at once where there is no window."""
    thursday = datetime(2026, 1, 1, tzinfo=UTC)
    day, night = window("daily 09:00-17:00"), window("thu,fri 16:00-20:00")
    hour = 3600.0

    assert next_start((), thursday, hour) == thursday
    assert next_start((day,), thursday, hour) == thursday + timedelta(hours=9)
    assert next_start((day, night), thursday, hour) == thursday + timedelta(hours=16)
    late = thursday + timedelta(hours=16, minutes=1)
    assert next_start((day, night), late, hour) == thursday + timedelta(hours=40)
    assert next_start((day, night), thursday, hour + 1) is None
    overrun = window("daily 09:00-17:00", may_overrun=True)
    assert next_start((overrun, night), thursday, hour + 1) == thursday + timedelta(hours=16)
    assert next_start((window("mon 09:00-17:00", zone="Mars/X"),), thursday, hour) is None


def test_a_first_moment_behind_many_short_hours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows with fifty hours a day; each week of a zone is looked through once."""
    asked: list[datetime] = []
    edges = hours_module._edges

    def counted(*given: Any) -> list[datetime]:
        asked.append(given[2])
        return edges(*given)

    monkeypatch.setattr(hours_module, "_edges", counted)
    monday = datetime(2026, 1, 5, 12, tzinfo=UTC)
    windows = tuple(
        Window(
            scope=scope,
            name="x",
            hours=Hours(
                zone="Europe/Berlin",
                spans=(
                    *(
                        f"daily {clock_text(first)}-{clock_text(first + 2)}"
                        for first in range(late, late + 49 * 15, 15)
                    ),
                    "sun 20:00-22:00",
                ),
            ),
            may_overrun=False,
            since=monday,
            by="ada",
            reason="for a test",
        )
        for scope, late in ((WindowScope.ACCOUNT, 0), (WindowScope.PHONE, 7))
    )

    found = next_start(windows, monday, 3600.0)

    assert found == datetime(2026, 1, 11, 19, tzinfo=UTC)
    assert 0 < len(asked) <= 2 * 3


@at_most(60)
@given(_hours(), _hours(), INSTANTS, st.integers(0, 4 * 3600))
def test_a_first_moment_is_one_and_nothing_before_it_is(
    one: Hours, other: Hours, instant: datetime, seconds: int
) -> None:
    """At it all windows are open, and stay so for the run; at no minute before it."""
    windows = tuple(
        Window(
            scope=WindowScope.PHONE,
            name="p",
            hours=hours,
            may_overrun=False,
            since=instant,
            by="",
            reason="",
        )
        for hours in (one, other)
    )

    def fits(moment: datetime) -> bool:
        ends = [closes_at(each.hours, moment) for each in windows]
        return all(open_at(each.hours, moment) for each in windows) and all(
            end is None or moment + timedelta(seconds=seconds) <= end for end in ends
        )

    start = next_start(windows, instant, float(seconds))

    last = start or instant + timedelta(weeks=5)
    step = (last - instant) / 40
    assert start is None or fits(start)
    assert not any(fits(instant + step * number) for number in range(40) if last > instant)
