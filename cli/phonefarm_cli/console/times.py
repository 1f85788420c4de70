"""Times and durations: reads what people type, writes what people read."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from phonefarm_cli.errors import CommandError, ExitCode

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_AGE_UNITS: Final = (("d", 24 * 3600), ("h", 3600), ("min", 60))
_LONGEST_DURATION: Final = timedelta(hours=24)
_LONGEST_LIFETIME: Final = timedelta(days=3650)


def parse_time(text: str, *, name: str, now: datetime) -> Timestamp:
    """Return the time in *text*: ISO-8601, UTC by default, or 30m, 2h, 7d before *now*."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            when = now - timedelta(seconds=int(ago[1]) * _UNIT_SECONDS[ago[2]])
        else:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
        found = Timestamp()
        found.FromDatetime(when)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            (
                f"{name} must be a time such as 2026-01-31T08:00Z, or an age such as "
                f"2h, not {text!r}"
            ),
            ExitCode.MISUSED,
        ) from error
    return found


def duration(text: str) -> int:
    """Return the seconds of 15m or 2h, at most 24 h; ArgumentTypeError for anything else."""
    found = _duration(text, units="mh")
    if not timedelta(0) < found <= _LONGEST_DURATION:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 15m or 2h, up to 24h")
    return int(found.total_seconds())


def lifetime(text: str) -> timedelta:
    """Return the length of 12h, 90d or 8w, at most 3650d; ArgumentTypeError for anything else."""
    found = _duration(text, units="hdw")
    if not timedelta(0) < found <= _LONGEST_LIFETIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 12h, 90d or 8w")
    return found


def _duration(text: str, *, units: str) -> timedelta:
    """Return the duration in one of these units; zero when *text* is not one."""
    found = _DURATION.fullmatch(text)
    if not found or found[2] not in units:
        return timedelta(0)
    return timedelta(seconds=int(found[1]) * _UNIT_SECONDS[found[2]])


def time_text(when: Timestamp) -> str:
    """Return the time for a table, in UTC; an absent one is empty."""
    if not when.ByteSize():
        return ""
    return datetime.fromtimestamp(when.ToMilliseconds() / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def relative_text(when: Timestamp, *, now: datetime) -> str:
    """Return how far the time is from *now*: `4 min ago`, `in 2 h`; an absent one is empty."""
    if not when.ByteSize():
        return ""
    seconds = now.timestamp() - when.ToMilliseconds() / 1000
    far = age_text(abs(seconds))
    return f"{far} ago" if seconds >= 0 else f"in {far}"


def age_text(seconds: float) -> str:
    """Return the seconds in the largest unit of which there are two: `45 s`, `90 min`, `3 d`."""
    for unit, size in _AGE_UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def deadline_text(deadline_at: Timestamp, *, given: bool) -> str:
    """Return the latest moment for the first action of an item, and who set it."""
    if not deadline_at.ByteSize():
        return "no deadline"
    return f"{time_text(deadline_at)} ({'caller' if given else 'farm'})"


def minute_text(when: Timestamp) -> str:
    """Return the time to the minute, in UTC; an absent one is empty."""
    return f"{time_text(when)[:-4]}Z" if when.ByteSize() else ""


def clock_text(when: Timestamp) -> str:
    """Return the time of day with milliseconds, in UTC; an absent one is empty."""
    if not when.ByteSize():
        return ""
    exact = datetime.fromtimestamp(when.ToMilliseconds() / 1000, UTC)
    return f"{exact:%H:%M:%S}.{exact.microsecond // 1000:03}Z"


def seconds_between(begin: Timestamp, end: Timestamp) -> str:
    """Return the seconds between two times, `4.2 s`; empty when one is absent."""
    if not begin.ByteSize() or not end.ByteSize():
        return ""
    return f"{(end.ToMilliseconds() - begin.ToMilliseconds()) / 1000:.1f} s"
