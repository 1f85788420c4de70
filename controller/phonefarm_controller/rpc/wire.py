"""What all messages share: strict JSON, times, cursors, and the limits of texts."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from google.protobuf.timestamp_pb2 import Timestamp

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.times import micros

DEEPEST: Final = 32
"""The deepest nesting of values; deeper values could overflow the stack of a later reader."""
LONGEST_ID: Final = 256
LONGEST_TEXT: Final = 4000
LONGEST_JSON: Final = 256 * 1024
LAST_YEAR: Final = 9998
"""The last year that is accepted: days may be added, and datetime ends with the year 9999."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def object_of(text: str) -> dict[str, Any] | None:
    """Return the JSON object, None for anything else; NaN and Infinity are no JSON."""
    value = _value_of(text)
    return value if isinstance(value, dict) else None


def array_of(text: str) -> list[Any] | None:
    """Return the JSON array, None for anything else."""
    value = _value_of(text)
    return value if isinstance(value, list) else None


def timestamp(micros: int) -> Timestamp:
    """Return epoch microseconds as a message."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def moment_to_wire(at: datetime | None) -> Timestamp | None:
    """Return the moment as a message; None stays absent."""
    since = micros(at)
    return None if since is None else timestamp(since)


def moment_of(field: str, value: Timestamp) -> datetime:
    """Return the moment; FarmError names *field* when no calendar has it."""
    try:
        moment = value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid_field(field, "is not a time between the years 1 and 9998") from error
    if moment.year > LAST_YEAR:
        raise invalid_field(field, f"must be before the end of the year {LAST_YEAR}")
    return moment


def cursor_to_wire(at: datetime, *parts: str | int) -> str:
    """Return a moment and what else names a place as one text without spaces."""
    since = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(
        json.dumps([since, *parts], separators=(",", ":")).encode()
    ).decode()


def cursor_parts(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the moment, then the parts; ValueError when *kinds* are not what a cursor has."""
    try:
        since, *parts = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        at = _EPOCH + timedelta(microseconds=since)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(cursor) from error
    if since < 0 or tuple(map(type, parts)) != kinds:
        raise ValueError(cursor)
    return at, *parts


def _value_of(text: str) -> Any:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    brackets = text.count("{") + text.count("[")
    return None if brackets > DEEPEST and _is_deep(value) else value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
"""Created once, because json.loads with an argument creates a decoder for every call."""


def _is_deep(value: Any) -> bool:
    wave = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        wave = [
            part
            for whole in wave
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, dict | list)
        ]
        if not wave:
            return False
    return True


def shown_url(url: str) -> str:
    """Return *url* without the user and the password that callers may put before its host."""
    scheme, slashes, rest = url.partition("://")
    place = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    _, at, host = place.rpartition("@")
    return f"{scheme}{slashes}***@{host}{rest[len(place) :]}" if at else url
