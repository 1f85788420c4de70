"""One callback to send, and how an attempt at it went."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from phonefarm_gateway.schemas.process_record import ProcessRecord


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A delivery this gateway holds a lease of."""

    delivery_id: str
    lease_token: str
    process_id: str
    sequence: int
    milestone: str
    emitted_at: datetime
    url: str
    attempt: int
    record: ProcessRecord


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """An attempt, told under the lease it was made with."""

    delivery_id: str
    lease_token: str
    outcome: Outcome
    http_status: int
    error: str
    retry_after_seconds: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attempt met; `http_status` 0 when no answer came, seconds for Retry-After."""

    outcome: Outcome
    http_status: int = 0
    error: str = ""
    retry_after_seconds: float = 0

    def report(self, delivery_id: str, lease_token: str) -> AttemptReport:
        """Return this attempt as it is told under the lease it was made with."""
        return AttemptReport(
            delivery_id=delivery_id,
            lease_token=lease_token,
            outcome=self.outcome,
            http_status=self.http_status,
            error=self.error,
            retry_after_seconds=self.retry_after_seconds,
        )
