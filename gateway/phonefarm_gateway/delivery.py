"""A leased delivery, an attempt at it, and the attempt's report."""

from dataclasses import dataclass
from datetime import datetime

from phonefarm.schemas.process_record import ProcessRecord
from phonefarm_common.trace_context import TraceContext
from phonefarm_common.wire_enums import DeliveryOutcome


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A leased delivery: the record of a process, or the JSON of an event."""

    delivery_id: str
    lease_token: str
    process_id: str
    sequence: int
    milestone: str
    emitted_at: datetime
    url: str
    attempt: int
    record: ProcessRecord | None = None
    event_json: str = ""
    trace: TraceContext | None = None
    """The span that the attempt belongs to."""


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """The outcome of an attempt, with the lease under which it was made."""

    delivery_id: str
    lease_token: str
    outcome: DeliveryOutcome
    http_status: int
    error: str
    retry_after_seconds: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The outcome of one attempt; `http_status` is 0 without an answer, seconds for Retry-After."""

    outcome: DeliveryOutcome
    http_status: int = 0
    error: str = ""
    retry_after_seconds: float = 0

    def report(self, delivery_id: str, lease_token: str) -> AttemptReport:
        """Return the report of this attempt."""
        return AttemptReport(
            delivery_id=delivery_id,
            lease_token=lease_token,
            outcome=self.outcome,
            http_status=self.http_status,
            error=self.error,
            retry_after_seconds=self.retry_after_seconds,
        )
