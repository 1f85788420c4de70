"""Tables of what gateways send: deliveries of processes, their attempts, and alert events."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from phonefarm_controller.model.states import DeliveryState
from phonefarm_controller.store.schema.types import (
    Instant,
    SafeText,
    metadata,
    one_of,
    partial_index,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", SafeText, primary_key=True),
    Column("process_id", SafeText, ForeignKey("capability_requests.process_id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("milestone", SafeText, nullable=False),
    Column("emitted_at", Instant, nullable=False),
    Column("url", SafeText, nullable=False),
    # scheme://host:port of the URL; release 0.1.0 leaves it empty
    Column("receiver", SafeText, nullable=False, server_default=text("''")),
    Column("record", SafeText, nullable=False),  # JSON, as of the transaction that made the event
    Column("state", SafeText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempts_before", Integer, nullable=False, server_default=text("0")),  # last replay
    Column("due_at", Instant, nullable=False),
    Column("first_attempt_at", Instant),
    Column("lease_token", SafeText),
    Column("gateway_id", SafeText),
    Column("settled_at", Instant),
    Column("last_error", SafeText),
    UniqueConstraint("process_id", "sequence"),
    one_of("state", DeliveryState),
)
_UNSETTLED: Final = text("state IN ('pending', 'leased')")
partial_index("ix_deliveries_due", deliveries.c.due_at, where=_UNSETTLED)
partial_index(
    "ix_deliveries_unsettled", deliveries.c.process_id, deliveries.c.sequence, where=_UNSETTLED
)

_PENDING: Final = text("state = 'pending'")
_LEASED: Final = text("state = 'leased'")
partial_index(
    "ix_deliveries_waiting",
    deliveries.c.receiver,
    deliveries.c.due_at,
    deliveries.c.sequence,
    where=_PENDING,
)
partial_index("ix_deliveries_leased", deliveries.c.due_at, where=_LEASED)

delivery_attempts = Table(  # the log of what each attempt met
    "delivery_attempts",
    metadata,
    Column("delivery_id", SafeText, ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("gateway_id", SafeText, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", SafeText, nullable=False),
    Column("http_status", Integer, nullable=False),  # 0 when no answer came
    Column("error", SafeText, nullable=False),
    CheckConstraint("outcome IN ('delivered', 'failed', 'gone', 'lapsed')", name="outcome_known"),
)

alert_events = Table(  # deliveries that are of no process
    "alert_events",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", SafeText, nullable=False),
    Column("milestone", SafeText, nullable=False),  # the event's type
    Column("emitted_at", Instant, nullable=False),
    Column("url", SafeText, nullable=False),
    Column("record", SafeText, nullable=False),  # JSON: the body
    Column("state", SafeText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempts_before", Integer, nullable=False),  # last replay
    Column("due_at", Instant, nullable=False),
    Column("first_attempt_at", Instant),
    Column("lease_token", SafeText),
    Column("gateway_id", SafeText),
    Column("settled_at", Instant),
    Column("last_error", SafeText),
    one_of("state", DeliveryState),
)
