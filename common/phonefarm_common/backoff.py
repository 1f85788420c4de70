"""Exponential back-off."""

import random
from collections.abc import Callable


def backoff(
    failures: int,
    *,
    first: float,
    factor: float = 3,
    most: float = 600,
    jitter: float = 0.2,
    chance: Callable[[], float] = random.random,
) -> float:
    """Return seconds to wait after *failures* failures (1 or more), give or take *jitter*."""
    planned = min(most, first * factor ** min(max(failures, 1) - 1, 32))
    return planned * (1 - jitter + 2 * jitter * chance())
