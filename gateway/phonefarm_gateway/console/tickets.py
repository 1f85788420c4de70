"""Tickets: each replaces an API key once, for a short time, so that no URL contains a key."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from phonefarm_common.clock import Clock

LOGIN_TIME: Final = timedelta(minutes=5)
MOST_TICKETS: Final = 1000
_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """The ticket that a caller gets: its text, shown once, and the time at which it expires."""

    text: str = field(repr=False)
    expires_at: datetime


class Tickets:
    """Makes tickets and takes each back once; keeps the newest MOST_TICKETS, in memory.

    A ticket counts at the gateway that made it, and for the purpose that it was made for.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By digest, so that a memory dump does not list the tickets.
        self._kept: OrderedDict[bytes, tuple[str, str, float]] = OrderedDict()

    def make(self, key: str, purpose: str, life: timedelta) -> Ticket:
        """Return a ticket that stands for *key* until *life* is over."""
        text = secrets.token_urlsafe(_BYTES)
        seconds = life.total_seconds()
        self._kept[_digest(text)] = (key, purpose, self._clock.monotonic() + seconds)
        while len(self._kept) > MOST_TICKETS:
            self._kept.popitem(last=False)
        return Ticket(text=text, expires_at=self._clock.now() + life)

    def take(self, text: str, purpose: str) -> str | None:
        """Return the key; None when the ticket was used, is over, or is for another purpose.

        The ticket does not count a second time, whatever the answer is.
        """
        key, kept_for, until = self._kept.pop(_digest(text), ("", "", 0.0))
        is_good = kept_for == purpose and until > self._clock.monotonic()
        return key if is_good else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
