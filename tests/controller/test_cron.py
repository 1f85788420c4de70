"""Cron expressions in real zones: which instants they have, also where summer time changes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st
from phonefarm_controller.model.cron import (
    Cron,
    UnknownZoneError,
    instants_after,
    next_after,
    normal_cron,
)
from support.examples import at_most, given

BERLIN: Final = "Europe/Berlin"
MINUTE: Final = timedelta(minutes=1)
ZONES: Final = (
    "UTC",
    BERLIN,
    "America/New_York",
    "America/Santiago",  # summer time begins at midnight
    "America/Havana",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "Australia/Lord_Howe",  # summer time is half an hour
)
SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)


def found(expression: str, start: datetime, count: int, zone: str = BERLIN) -> list[str]:
    """Return the next instants as their wall clock shows them, with the offset."""
    cron = Cron(expression=expression, zone=zone)
    shown = [one.astimezone(ZoneInfo(zone)) for one in islice(instants_after(cron, start), count)]
    return [f"{one:%d %H:%M%z}" for one in shown]


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        # The hour from 02:00 is skipped on the 29th of March.
        ("30 2 * * *", SPRING - timedelta(days=1), ["28 02:30+0100", "29 03:00+0200"]),
        ("0,30 2 * * *", SPRING, ["29 03:00+0200", "30 02:00+0200"]),
        ("30 2 29 3 *", SPRING, ["29 03:00+0200", "29 02:30+0200"]),
        ("*/30 2 * * *", SPRING, ["30 02:00+0200", "30 02:30+0200"]),
        ("0 * * * *", SPRING, ["29 03:00+0200", "29 04:00+0200"]),
        # The hour from 02:00 comes twice on the 25th of October.
        ("30 2 * * *", AUTUMN - timedelta(days=1), ["24 02:30+0200", "25 02:30+0200"]),
        ("45 2 * * *", AUTUMN + timedelta(minutes=95), ["26 02:45+0100", "27 02:45+0100"]),
        ("*/30 2 * * *", AUTUMN, ["25 02:30+0200", "25 02:00+0100"]),
        ("0 * * * *", SPRING + timedelta(seconds=3599), ["29 03:00+0200", "29 04:00+0200"]),
        ("0 * * * *", AUTUMN - MINUTE, ["25 02:00+0200", "25 02:00+0100"]),
        ("0 0 29 2 *", SPRING, ["29 00:00+0100", "29 00:00+0100"]),
        ("0 12 l * *", SPRING, ["31 12:00+0200", "30 12:00+0200"]),
        ("0 12 * * mon#1", SPRING, ["06 12:00+0200", "04 12:00+0200"]),
    ],
)
def test_instants_are_those_of_debians_cron(
    expression: str, start: datetime, expected: list[str]
) -> None:
    """A fixed time comes once each day; what begins with `*` follows the real time."""
    assert found(expression, start, 2) == expected


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("@daily", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * feb-jan *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("0 0 1 1 *" + " " * 100, "at most 100 characters"),
        ("", "five fields"),
    ],
)
def test_an_expression_that_is_wrong_is_told_what_and_how(expression: str, wrong: str) -> None:
    """The part that is wrong, and an example of what is right."""
    with pytest.raises(ValueError, match=wrong):
        normal_cron(expression)


def test_an_expression_has_one_spelling() -> None:
    """Spaces count for nothing."""
    assert normal_cron("  0  9 * *\tMON-FRI ") == "0 9 * * MON-FRI"


def test_a_zone_that_the_machine_does_not_know_has_no_instants() -> None:
    """It is an error of its own: the schedule waits for the zone."""
    with pytest.raises(UnknownZoneError, match="Mars/Olympus"):
        next_after(Cron(expression="* * * * *", zone="Mars/Olympus"), SPRING)


MINUTES = st.sampled_from(["*", "*/7", "0", "30", "15,45", "0-10", "59"])
HOURS = st.sampled_from(["*", "*/2", "0", "1-3", "2", "3", "23", "0,12"])
WEEKDAYS = st.sampled_from(["*", "sun", "mon-fri", "0,6"])
CRONS = st.builds(
    lambda minute, hour, weekday, zone: Cron(
        expression=f"{minute} {hour} * * {weekday}", zone=zone
    ),
    MINUTES,
    HOURS,
    WEEKDAYS,
    st.sampled_from(ZONES),
)
INSTANTS = st.timedeltas(timedelta(0), timedelta(days=15 * 365)).map(
    lambda passed: datetime(2020, 1, 1, tzinfo=UTC) + passed
)


@st.composite
def near_a_jump(draw: st.DrawFn, zone: str) -> datetime:
    """Draw an instant within two days of a change of the zone's clock, where there is one."""
    year = draw(st.integers(2020, 2034))
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=number) for number in range(366)]
    local = ZoneInfo(zone)
    jumps = [
        day
        for day in days
        if day.astimezone(local).utcoffset()
        != (day + timedelta(days=1)).astimezone(local).utcoffset()
    ]
    return draw(st.sampled_from(jumps or days)) - draw(
        st.timedeltas(timedelta(0), timedelta(days=2))
    )


def expected(cron: Cron, start: datetime, end: datetime) -> set[datetime]:
    """Return the instants in between, found minute by minute on the wall clock."""
    zone = ZoneInfo(cron.zone)
    minute, hour, _, _, weekday = cron.expression.split()
    hours, minutes = spread(hour, 24), spread(minute, 60)
    weekdays = {"*": set(range(7)), "sun": {6}, "mon-fri": set(range(5)), "0,6": {5, 6}}[weekday]

    def named(local: datetime) -> bool:
        return local.minute in minutes and local.hour in hours and local.weekday() in weekdays

    if minute.startswith("*") or hour.startswith("*"):
        shown = ((one, one.astimezone(zone)) for one in by_minute(start, end))
        return {one for one, local in shown if named(local)}
    day = timedelta(days=1)
    walls = by_minute(
        start.astimezone(zone).replace(tzinfo=None) - day,
        end.astimezone(zone).replace(tzinfo=None) + day,
    )
    resolved = {first_shown(local, zone) for local in walls if named(local)}
    return {one for one in resolved if start < one <= end}


def spread(field: str, size: int) -> set[int]:
    """Return the numbers of a field of the kinds that the tests draw."""
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        low, high = (0, size - 1) if first == "*" else (int(first), int(last or first))
        numbers |= set(range(low, high + 1, int(step or 1)))
    return numbers


def by_minute(start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield each whole minute after *start* and up to *end*."""
    moment = start.replace(second=0, microsecond=0)
    while (moment := moment + MINUTE) <= end:
        yield moment


def first_shown(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when a wall first shows that minute, or, if it never does, the minute after it."""
    while True:
        instant = local.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == local:
            return instant
        local += MINUTE


@at_most(100)
@given(st.data(), CRONS)
def test_instants_are_found_as_by_looking_at_a_wall_each_minute(
    data: st.DataObject, cron: Cron
) -> None:
    """For three days about a change of the clock: none is left out, none is invented."""
    start = data.draw(near_a_jump(cron.zone))
    end = start + timedelta(days=3)

    instants = list(takewhile(lambda one: one <= end, instants_after(cron, start)))

    assert instants == sorted(expected(cron, start, end))


@at_most(100)
@given(st.data(), CRONS, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_what_follows_does_not_depend_on_where_one_starts(
    data: st.DataObject, cron: Cron, later: timedelta
) -> None:
    """From a later start the same instants follow, each later than the start, once and in order."""
    start = data.draw(st.one_of(near_a_jump(cron.zone), INSTANTS))
    end = start + timedelta(days=3)
    whole = list(takewhile(lambda one: one <= end, instants_after(cron, start)))
    middle = start + later

    rest = list(takewhile(lambda one: one <= end, instants_after(cron, middle)))

    assert rest == [one for one in whole if one > middle]
    assert all(one < two for one, two in pairwise(whole))
