"""Moments: as people write them, and as they read them."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from phonefarm_cli.errors import CommandError, ExitCode

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, *, name: str, now: datetime) -> Timestamp:
    """Return when *text* means: ISO-8601 (UTC unless it says otherwise), or 30m, 2h, 7d before."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            when = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
        found = Timestamp()
        found.FromDatetime(when)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{name} must be a moment such as 2026-01-31T08:00Z or 2h (before now), not {text!r}",
            ExitCode.MISUSED,
        ) from error
    return found


def short(when: Timestamp) -> str:
    """Return the moment for a table, in UTC; nothing for one that is absent."""
    if not when.ByteSize():
        return ""
    return datetime.fromtimestamp(when.ToMilliseconds() / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def clock(when: Timestamp) -> str:
    """Return the time of day with milliseconds, in UTC; nothing for a moment that is absent."""
    if not when.ByteSize():
        return ""
    exact = datetime.fromtimestamp(when.ToMilliseconds() / 1000, UTC)
    return f"{exact:%H:%M:%S}.{exact.microsecond // 1000:03}Z"


def lasted(begin: Timestamp, end: Timestamp) -> str:
    """Return the seconds between two moments, `4.2 s`; nothing when one is absent."""
    if not begin.ByteSize() or not end.ByteSize():
        return ""
    return f"{(end.ToMilliseconds() - begin.ToMilliseconds()) / 1000:.1f} s"
