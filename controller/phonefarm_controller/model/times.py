"""Converts times to numbers and to text."""

from datetime import UTC, datetime


def micros(moment: datetime | None) -> int | None:
    """Return microseconds since 1970 in UTC."""
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def moment_text(at: datetime) -> str:
    """Return the moment as callers write it: ISO-8601, UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
