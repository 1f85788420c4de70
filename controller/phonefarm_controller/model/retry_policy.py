"""How often failed work is tried again, and how long it waits before each attempt."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how soon to try again; times in seconds, scaled like the timers."""

    work_attempts: int = 2
    infra_attempts: int = 8
    retry_first: float = 5
    retry_factor: float = 3
    retry_most: float = 600
    retry_jitter: float = 0.2
    max_wait: float | None = 24 * 3600
    """The farm's own limit on waiting, for work without a deadline; None: there is no limit."""

    def scaled(self, factor: float) -> Self:
        """Return the same policy with its back-off multiplied by *factor*."""
        return replace(
            self, retry_first=self.retry_first * factor, retry_most=self.retry_most * factor
        )
