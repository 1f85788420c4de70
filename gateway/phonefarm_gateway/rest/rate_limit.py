"""Limits the requests of each key, and the logins of each address, with token buckets."""

import hashlib
from collections import OrderedDict
from typing import Final

from phonefarm_common.clock import Clock

MOST_BUCKETS: Final = 10_000
LOGINS_PER_SECOND: Final = 1.0
LOGIN_BURST: Final = 30
"""One address may try this many logins at once; all callers behind a proxy share its address."""


class RateLimiter:
    """Has a bucket for each of the keys seen last; the oldest are dropped above MOST_BUCKETS."""

    def __init__(self, *, per_second: float, burst: int, clock: Clock) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        # By digest, so that a memory dump does not list the keys.
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def seconds_until(self, key: str) -> float:
        """Take a token and return 0, or return the seconds until the next token."""
        if self._per_second <= 0:
            return 0
        now = self._clock.monotonic()
        name = hashlib.sha256(key.encode()).digest()
        tokens, at = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        is_taken = tokens >= 1
        self._buckets[name] = (tokens - 1 if is_taken else tokens, now)
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0 if is_taken else (1 - tokens) / self._per_second
