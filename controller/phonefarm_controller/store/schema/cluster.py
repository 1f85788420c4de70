"""Tables of what all controllers share: pauses, windows, limits, loop leases, the audit."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table

from phonefarm_controller.model.limits import LimitKind, LimitScope
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.windows import WindowScope
from phonefarm_controller.store.schema.types import Instant, SafeText, metadata, one_of

pauses = Table(
    "pauses",
    metadata,
    Column("scope", SafeText, primary_key=True),
    Column("name", SafeText, primary_key=True),  # empty for the scope `all`
    Column("since", Instant, nullable=False),
    Column("by", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    one_of("scope", PauseScope),
)

windows = Table(
    "windows",
    metadata,
    Column("scope", SafeText, primary_key=True),
    Column("name", SafeText, primary_key=True),
    Column("zone", SafeText, nullable=False),
    Column("hours", SafeText, nullable=False),  # JSON: a list of texts
    Column("may_overrun", Boolean, nullable=False),
    Column("since", Instant, nullable=False),
    Column("by", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    one_of("scope", WindowScope),
)

limits = Table(
    "limits",
    metadata,
    Column("kind", SafeText, primary_key=True),
    Column("scope", SafeText, primary_key=True),
    Column("name", SafeText, primary_key=True),  # empty for the scope `every_account`
    Column("value", Integer, nullable=False),
    Column("zone", SafeText, nullable=False),  # whose day counts; empty for other kinds
    Column("since", Instant, nullable=False),
    Column("by", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    one_of("kind", LimitKind),
    one_of("scope", LimitScope),
)

loop_leases = Table(
    "loop_leases",
    metadata,
    Column("loop", SafeText, primary_key=True),
    Column("owner", SafeText, nullable=False),  # empty: it was left
    Column("term", BigInteger, nullable=False),
    Column("beats", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", SafeText, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", SafeText, nullable=False),
    Column("verb", SafeText, nullable=False),
    Column("subject", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
)
Index("ix_audit_at", audit.c.at)
Index("ix_audit_subject", audit.c.subject, audit.c.at)
