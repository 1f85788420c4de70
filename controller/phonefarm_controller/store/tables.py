"""The tables. States carry CHECKs made from the transition tables."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from phonefarm_controller.domain.states import (
    Condition,
    DeliveryState,
    Health,
    Intent,
    ItemState,
    LeaseState,
    ProcessState,
    Readiness,
    RunState,
    Transport,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment as microseconds since 1970 in UTC: the same integer on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the integer to store."""
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the aware moment."""
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


def _one_of(column: str, states: Iterable[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


capability_requests = Table(
    "capability_requests",
    metadata,
    Column("process_id", Text, primary_key=True),
    Column("process_type", Text, nullable=False),
    Column("request_id", Text),
    Column("system", Text, nullable=False),
    Column("user", Text),
    Column("requested_by_metadata", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("callback_url", Text),
    Column("callback_metadata", Text, nullable=False),
    Column("single_target", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("executing_at", Instant),
    Column("retrying_at", Instant),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", Text),
    Column("finished_at", Instant),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("process_type", "system", "request_id"),
    _one_of("state", ProcessState),
    CheckConstraint(
        "(state IN ('DONE', 'PARTIAL', 'DEAD_LETTER', 'CANCELLED')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
)
Index("ix_requests_created", capability_requests.c.created_at, capability_requests.c.process_id)

app_profiles = Table(
    "app_profiles",
    metadata,
    Column("version", Text, primary_key=True),  # sha256 of the content
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),  # the TOML, as read
    Column("created_at", Instant, nullable=False),
)

queue_items = Table(
    "queue_items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column(
        "process_id", Text, ForeignKey("capability_requests.process_id"), nullable=False, index=True
    ),
    Column("ordinal", Integer, nullable=False),
    Column("capability", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ready_at", Instant, nullable=False),
    Column("deadline_at", Instant, nullable=False),
    Column("deadline_given", Boolean, nullable=False),
    Column("want_phone_id", Text),
    Column("want_account_id", Text),
    Column("want_phone_group", Text),
    Column("plan", Text, nullable=False),
    Column("actions_total", Integer, nullable=False),
    Column("once_actions", Text, nullable=False),
    Column("cap_seconds", Float, nullable=False),
    Column("profile_version", Text, ForeignKey("app_profiles.version"), nullable=False),
    Column("phone_id", Text),
    Column("account_id", Text),
    Column("attempt", Integer, nullable=False),
    Column("work_failures", Integer, nullable=False),
    Column("infra_failures", Integer, nullable=False),
    Column("executed", Boolean, nullable=False),
    Column("run_id", Text),
    Column("lease_id", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("once_started", Text),
    Column("once_done", Text, nullable=False),
    Column("actions_done", Integer, nullable=False),
    Column("last_phone_id", Text),
    Column("failure", Text),
    Column("outputs", Text),
    Column("cancel", Text),
    Column("finished_at", Instant),
    UniqueConstraint("process_id", "ordinal"),
    _one_of("state", ItemState),
    CheckConstraint(
        "(state IN ('DONE', 'DEAD_LETTER', 'CANCELLED')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
    CheckConstraint(
        "state NOT IN ('CLAIMED', 'EXECUTING') OR (lease_id IS NOT NULL AND phone_id IS NOT NULL)",
        name="active_is_leased",
    ),
)
_CLAIMABLE: Final = text("state IN ('QUEUED', 'SCHEDULED')")
_WAITING: Final = text("state IN ('QUEUED', 'SCHEDULED', 'RETRYABLE')")
Index(
    "ix_queue_items_bound",
    queue_items.c.want_phone_id,
    queue_items.c.priority.desc(),
    queue_items.c.created_at,
    queue_items.c.ordinal,
    sqlite_where=_CLAIMABLE,
    postgresql_where=_CLAIMABLE,
)
Index(
    "ix_queue_items_open",
    queue_items.c.app,
    queue_items.c.want_phone_group,
    queue_items.c.priority.desc(),
    queue_items.c.created_at,
    queue_items.c.ordinal,
    sqlite_where=text("state IN ('QUEUED', 'SCHEDULED') AND want_phone_id IS NULL"),
    postgresql_where=text("state IN ('QUEUED', 'SCHEDULED') AND want_phone_id IS NULL"),
)
Index(
    "ix_queue_items_deadline",
    queue_items.c.deadline_at,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
Index(
    "ix_queue_items_due",
    queue_items.c.ready_at,
    sqlite_where=text("state IN ('SCHEDULED', 'RETRYABLE')"),
    postgresql_where=text("state IN ('SCHEDULED', 'RETRYABLE')"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("item_id", Text, ForeignKey("queue_items.item_id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("phone_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("lease_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("container", Text),
    Column("last_sequence", BigInteger, nullable=False),
    Column("outcome", Text),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("item_id", "attempt"),
    _one_of("state", RunState),
)

action_results = Table(
    "action_results",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("late", Boolean, nullable=False),  # came when the attempt was no longer the current one
    Column("received_at", Instant, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("lease_id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("item_id", Text, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("phone_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("phone_held", Boolean, nullable=False),
    Column("account_held", Boolean, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("cap_at", Instant, nullable=False),  # not renewed past this
    Column("granted_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("reason", Text),
    _one_of("state", LeaseState),
    CheckConstraint("(state = 'ended') = (NOT phone_held)", name="held_until_ended"),
)
Index(
    "uq_leases_phone",
    leases.c.phone_id,
    unique=True,
    sqlite_where=text("phone_held"),
    postgresql_where=text("phone_held"),
)
Index(
    "uq_leases_account",
    leases.c.account_id,
    unique=True,
    sqlite_where=text("account_held"),
    postgresql_where=text("account_held"),
)
Index(
    "ix_leases_agent",
    leases.c.agent_id,
    sqlite_where=text("phone_held"),
    postgresql_where=text("phone_held"),
)

agents = Table(
    "agents",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("boot_id", Text, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("heard_at", Instant, nullable=False),
)

phones = Table(
    "phones",
    metadata,
    Column("phone_id", Text, primary_key=True),
    Column("serialno", Text, nullable=False, unique=True),
    Column("agent_id", Text, nullable=False, index=True),
    Column("adb_serial", Text, nullable=False),
    Column("transport", Text, nullable=False),
    Column("readiness", Text, nullable=False),
    Column("readiness_reason", Text, nullable=False),
    Column("health", Text, nullable=False),
    Column("health_reason", Text, nullable=False),
    Column("intent", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("android_release", Text, nullable=False),
    _one_of("transport", Transport),
    _one_of("readiness", Readiness),
    _one_of("health", Health),
    _one_of("intent", Intent),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("phone_id", Text, index=True),
    Column("app", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("condition", Text, nullable=False),
    Column("condition_reason", Text, nullable=False),
    _one_of("condition", Condition),
)

groups = Table(
    "groups",
    metadata,
    Column("kind", Text, primary_key=True),  # phone or account
    Column("name", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    CheckConstraint("kind IN ('phone', 'account')", name="kind_known"),
)

verifications = Table(
    "verifications",
    metadata,
    Column("capability", Text, primary_key=True),
    Column("profile_version", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("verified_at", Instant, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("process_id", Text, ForeignKey("capability_requests.process_id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("milestone", Text, nullable=False),
    Column("emitted_at", Instant, nullable=False),
    Column("url", Text, nullable=False),
    Column("record", Text, nullable=False),  # JSON, as of the transaction that made the event
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("first_attempt_at", Instant),
    Column("lease_token", Text),
    Column("settled_at", Instant),
    Column("last_error", Text),
    UniqueConstraint("process_id", "sequence"),
    _one_of("state", DeliveryState),
)
_UNSETTLED: Final = text("state IN ('pending', 'leased')")
Index(
    "ix_deliveries_due",
    deliveries.c.due_at,
    sqlite_where=_UNSETTLED,
    postgresql_where=_UNSETTLED,
)
Index(
    "ix_deliveries_unsettled",
    deliveries.c.process_id,
    deliveries.c.sequence,
    sqlite_where=_UNSETTLED,
    postgresql_where=_UNSETTLED,
)

evidence = Table(
    "evidence",
    metadata,
    Column("evidence_id", Text, primary_key=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("process_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("path", Text, nullable=False),  # below the evidence directory
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("action_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    UniqueConstraint("run_id", "name"),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
