"""How often and after what time a request is sent again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from phonefarm.client.errors import (
    NoResponseError,
    NotConnectedError,
    PhonefarmError,
    RateLimitedError,
    UnavailableError,
)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How a client repeats requests that failed in a way that passes.

    A request is sent at most `most` more times. Before each, the client waits as long as the
    gateway asks (Retry-After), or else about `first_seconds`, twice as long each further time, up
    to `longest_seconds`. If the gateway asks for more than `patience_seconds`, the error is raised
    at once. `sleep` and `chance` are for tests.
    """

    most: int = 5
    first_seconds: float = 0.5
    longest_seconds: float = 8.0
    patience_seconds: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    def delay(self, error: PhonefarmError, *, failures: int, repeatable: bool) -> float | None:
        """Return the seconds to wait after so many *failures*; None if *error* is to be raised.

        A request that is not *repeatable* is sent again only if it was certainly not carried out:
        after 429, and when there was no connection.
        """
        passing = isinstance(error, NoResponseError | RateLimitedError | UnavailableError)
        if not passing or failures > self.most:
            return None
        if not repeatable and not isinstance(error, RateLimitedError | NotConnectedError):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.patience_seconds else None
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** (failures - 1))
        # Callers that failed together must not come back together.
        return longest * (0.5 + self.chance() / 2)
