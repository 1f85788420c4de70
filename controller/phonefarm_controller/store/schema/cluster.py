"""Tables of what all controllers share: pauses, loop leases, the audit."""

from sqlalchemy import BigInteger, Column, Index, Table

from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.store.schema.types import (
    Instant,
    Words,
    metadata,
    one_of,
)

pauses = Table(
    "pauses",
    metadata,
    Column("scope", Words, primary_key=True),
    Column("name", Words, primary_key=True),  # empty for the scope `all`
    Column("since", Instant, nullable=False),
    Column("by", Words, nullable=False),
    Column("reason", Words, nullable=False),
    one_of("scope", PauseScope),
)

loop_leases = Table(
    "loop_leases",
    metadata,
    Column("loop", Words, primary_key=True),
    Column("owner", Words, nullable=False),  # empty: it was left
    Column("term", BigInteger, nullable=False),
    Column("beats", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", Words, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Words, nullable=False),
    Column("verb", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("reason", Words, nullable=False),
)
Index("ix_audit_at", audit.c.at)
Index("ix_audit_subject", audit.c.subject, audit.c.at)
