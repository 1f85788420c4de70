"""The tables. States carry CHECKs made from the transition tables."""

from collections.abc import Iterable, Sequence
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
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

from phonefarm_controller.model.health import Blame
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.states import (
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


class Words(TypeDecorator[str]):
    """Text. A NUL, which PostgreSQL cannot hold, becomes U+FFFD, which is part of no name."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what every engine can hold."""
        return None if value is None else without_nul(value)


def without_nul(text: str) -> str:
    """Return the text with U+FFFD for each NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _one_of(column: str, states: Iterable[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


capability_requests = Table(
    "capability_requests",
    metadata,
    Column("process_id", Words, primary_key=True),
    Column("process_type", Words, nullable=False),
    Column("request_id", Words),
    Column("system", Words, nullable=False),
    Column("user", Words),
    Column("requested_by_metadata", Words, nullable=False),
    Column("mode", Words, nullable=False),
    Column("digest", Words, nullable=False),
    Column("target", Words, nullable=False),
    Column("inputs", Words, nullable=False),
    Column("callback_url", Words),
    Column("callback_metadata", Words, nullable=False),
    # Asked for by an operator to prove the capability; its runs leave evidence at their end.
    Column("verification", Boolean, nullable=False, server_default=false()),
    Column("single_target", Boolean, nullable=False),
    Column("state", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("executing_at", Instant),
    Column("retrying_at", Instant),
    Column("cancel_requested_at", Instant),
    Column("cancel_requested_by", Words),
    Column("finished_at", Instant),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("rerun_of", Words),  # the process whose request it repeats, by an operator's word
    UniqueConstraint("process_type", "system", "request_id"),
    _one_of("state", ProcessState),
    CheckConstraint(
        "(state IN ('DONE', 'PARTIAL', 'DEAD_LETTER', 'CANCELLED')) = (finished_at IS NOT NULL)",
        name="finished_when_terminal",
    ),
)
Index("uq_requests_rerun_of", capability_requests.c.rerun_of, unique=True)
Index("ix_requests_created", capability_requests.c.created_at, capability_requests.c.process_id)
Index(
    "ix_requests_finished",
    capability_requests.c.finished_at,
    capability_requests.c.process_id,
    sqlite_where=text("finished_at IS NOT NULL"),
    postgresql_where=text("finished_at IS NOT NULL"),
)

transitions = Table(  # the timeline: every move of a process and of its items
    "transitions",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("process_id", Words, nullable=False),
    Column("item_id", Words),  # None when the process itself moved
    Column("at", Instant, nullable=False),
    Column("from_state", Words),  # None when it was made
    Column("to_state", Words, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phone_id", Words),
    Column("account_id", Words),
)
Index("ix_transitions_process", transitions.c.process_id, transitions.c.number)

app_profiles = Table(
    "app_profiles",
    metadata,
    Column("version", Words, primary_key=True),  # sha256 of the content
    Column("name", Words, nullable=False),
    Column("content", Words, nullable=False),  # the TOML, as read
    Column("created_at", Instant, nullable=False),
)

queue_items = Table(
    "queue_items",
    metadata,
    Column("item_id", Words, primary_key=True),
    Column(
        "process_id",
        Words,
        ForeignKey("capability_requests.process_id"),
        nullable=False,
        index=True,
    ),
    Column("ordinal", Integer, nullable=False),
    Column("capability", Words, nullable=False),
    Column("app", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ready_at", Instant, nullable=False),
    # Whether ready_at was seen to have come: what a claim walks is in the order of the queue.
    Column("ready", Boolean, nullable=False, server_default=false()),
    Column("deadline_at", Instant, nullable=False),
    Column("deadline_given", Boolean, nullable=False),
    Column("want_phone_id", Words),
    Column("want_account_id", Words),
    Column("want_phone_group", Words),
    Column("plan", Words, nullable=False),
    Column("actions_total", Integer, nullable=False),
    Column("once_actions", Words, nullable=False),
    Column("cap_seconds", Float, nullable=False),
    Column("profile_version", Words, ForeignKey("app_profiles.version"), nullable=False),
    Column("phone_id", Words),
    Column("account_id", Words),
    Column("attempt", Integer, nullable=False),
    Column("work_failures", Integer, nullable=False),
    Column("infra_failures", Integer, nullable=False),
    Column("executed", Boolean, nullable=False),
    Column("run_id", Words),
    Column("lease_id", Words),
    Column("epoch", BigInteger, nullable=False),
    Column("once_started", Words),
    Column("once_done", Words, nullable=False),
    Column("actions_done", Integer, nullable=False),
    Column("last_phone_id", Words),
    Column("failure", Words),
    Column("outputs", Words),
    Column("cancel", Words),
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
# An index of a part is used only by who says the very same words of that part.
CLAIMABLE: Final = text("state IN ('QUEUED', 'SCHEDULED')")
READY: Final = text("ready IS TRUE")
UNREADY: Final = text("ready IS NOT TRUE")
WAITING: Final = text("state IN ('QUEUED', 'SCHEDULED', 'RETRYABLE')")
DUE: Final = text("state IN ('SCHEDULED', 'RETRYABLE')")
OPEN_ALONE: Final = text("capability IN ('hold', 'golden_job') AND finished_at IS NULL")
GOLDEN_JOB: Final = text("capability = 'golden_job'")


def _index(name: str, *columns: Any, where: Sequence[TextClause]) -> None:
    """Make an index of the rows that *where* names, in the same words on each engine."""
    words = text(" AND ".join(str(clause) for clause in where))
    Index(name, *columns, sqlite_where=words, postgresql_where=words)


_TURN: Final = (
    queue_items.c.priority.desc(),
    queue_items.c.created_at,
    queue_items.c.ordinal,
    queue_items.c.item_id,
)
_index(
    "ix_queue_items_bound_ready",
    queue_items.c.want_phone_id,
    queue_items.c.want_account_id,
    queue_items.c.app,
    *_TURN,
    where=[CLAIMABLE, READY],
)
_index(
    "ix_queue_items_open_ready",
    queue_items.c.app,
    queue_items.c.want_phone_group,
    *_TURN,
    where=[CLAIMABLE, READY, text("want_phone_id IS NULL")],
)
_index("ix_queue_items_unready", queue_items.c.ready_at, where=[CLAIMABLE, UNREADY])
_index("ix_queue_items_alone", queue_items.c.want_phone_id, where=[OPEN_ALONE])
_index("ix_queue_items_golden_made", queue_items.c.created_at, where=[GOLDEN_JOB])
_index("ix_queue_items_deadline", queue_items.c.deadline_at, where=[WAITING])
_index("ix_queue_items_due", queue_items.c.ready_at, where=[DUE])

runs = Table(
    "runs",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("item_id", Words, ForeignKey("queue_items.item_id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("phone_id", Words, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("agent_id", Words, nullable=False),
    Column("lease_id", Words, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Words, nullable=False),
    Column("container", Words),
    Column("snapshot_id", Words),  # of the account's runtime snapshot that the run was handed
    Column("snapshot", Words),  # its JSON, as it was then
    Column("runtime", Words),  # of its agent at the claim; None from release 0.1.0
    Column("last_sequence", BigInteger, nullable=False),
    Column("outcome", Words),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("item_id", "attempt"),
    _one_of("state", RunState),
)

action_results = Table(
    "action_results",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", Words, nullable=False),
    Column("body", Words, nullable=False),
    Column("late", Boolean, nullable=False),  # came when the attempt was no longer the current one
    Column("received_at", Instant, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("lease_id", Words, primary_key=True),
    Column("run_id", Words, ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("item_id", Words, nullable=False),
    Column("process_id", Words, nullable=False),
    Column("phone_id", Words, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("agent_id", Words, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Words, nullable=False),
    Column("phone_held", Boolean, nullable=False),
    Column("account_held", Boolean, nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("cap_at", Instant, nullable=False),  # granted_at + the longest it may be kept
    Column("granted_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("reason", Words),
    Column("revoked", Boolean, nullable=False, server_default=false()),
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
    Column("agent_id", Words, primary_key=True),
    Column("boot_id", Words, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("version", Words, nullable=False),
    Column("runtime", Words, nullable=False, server_default=text("''")),
    Column("term", BigInteger, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("heard_at", Instant, nullable=False),
    # Phone ids as JSON, for other controllers to show; a moment late.
    Column("offered", Words, nullable=False, server_default=text("'[]'")),
    Column("drain_since", Instant),  # an operator wants its host empty
    Column("drain_by", Words, nullable=False, server_default=text("''")),
    Column("drain_reason", Words, nullable=False, server_default=text("''")),
)

phones = Table(
    "phones",
    metadata,
    Column("phone_id", Words, primary_key=True),
    Column("serialno", Words, nullable=False, unique=True),
    Column("agent_id", Words, nullable=False, index=True),
    Column("adb_serial", Words, nullable=False),
    Column("transport", Words, nullable=False),
    Column("readiness", Words, nullable=False),
    Column("readiness_reason", Words, nullable=False),
    Column("health", Words, nullable=False),
    Column("health_reason", Words, nullable=False),
    Column("intent", Words, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("model", Words, nullable=False),
    Column("android_release", Words, nullable=False),
    Column("health_until", Instant),  # when health changes by itself
    Column("cooling_until", Instant),  # no work before this
    Column("rounds", Integer, nullable=False, server_default=text("0")),  # quarantines by failures
    Column("round_at", Instant),
    Column("owed", Words, nullable=False, server_default=text("''")),  # domain.health.Owed
    # Since when each axis is as it is, and who wrote it; None from release 0.1.0.
    Column("transport_since", Instant),
    Column("readiness_since", Instant),
    Column("health_since", Instant),
    Column("health_by", Words),
    Column("intent_since", Instant),
    Column("intent_by", Words),
    _one_of("transport", Transport),
    _one_of("readiness", Readiness),
    _one_of("health", Health),
    _one_of("intent", Intent),
)
_CHANGES_BY_TIME: Final = text("health_until IS NOT NULL OR cooling_until IS NOT NULL")
Index(
    "ix_phones_until",
    phones.c.phone_id,
    sqlite_where=_CHANGES_BY_TIME,
    postgresql_where=_CHANGES_BY_TIME,
)

phone_looks = Table(  # what the agent tells besides the axes; apart from what claims lock and read
    "phone_looks",
    metadata,
    Column("phone_id", Words, ForeignKey("phones.phone_id"), primary_key=True),
    Column("stages", Words, nullable=False),  # JSON
    Column("needs_hands", Words, nullable=False),
    Column("needs_hands_since", Instant),
    Column("battery_percent", Integer),
    Column("battery_celsius", Float),
    Column("storage_free_bytes", BigInteger),
    Column("told_at", Instant, nullable=False),
)

strangers = Table(  # what adb lists and nobody could identify: there is no phone yet
    "strangers",
    metadata,
    Column("agent_id", Words, primary_key=True),
    Column("adb_serial", Words, primary_key=True),
    Column("transport", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("needs_hands", Words, nullable=False),
    Column("since", Instant, nullable=False),
    _one_of("transport", Transport),
)

hosts = Table(
    "hosts",
    metadata,
    Column("agent_id", Words, primary_key=True),
    Column("withheld", Words, nullable=False),  # why none of its phones is offered
    Column("withheld_since", Instant),
    # Up to here its steps of recovery are in the audit.
    Column("recovery_incarnation", BigInteger, nullable=False),
    Column("recovery_number", BigInteger, nullable=False),
)

host_incidents = Table(
    "host_incidents",
    metadata,
    Column("agent_id", Words, primary_key=True),
    Column("incident_id", Words, primary_key=True),
    Column("seen_by", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("error", Words, nullable=False),
    Column("phones", Words, nullable=False),  # JSON: ids, or serial numbers nobody knows
    Column("began_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("ended_at", Instant),
    CheckConstraint("seen_by IN ('agent', 'controller')", name="seen_by_known"),
)
_LASTS: Final = text("ended_at IS NULL")
Index(
    "ix_host_incidents_open",
    host_incidents.c.agent_id,
    sqlite_where=_LASTS,
    postgresql_where=_LASTS,
)

phone_failures = Table(  # what was charged to phones, each run once
    "phone_failures",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("phone_id", Words, nullable=False),
    Column("agent_id", Words, nullable=False),
    Column("process_id", Words, nullable=False),
    Column("at", Instant, nullable=False),
    Column("blame", Words, nullable=False),
    Column("code", Words, nullable=False),
    Column("message", Words, nullable=False),
    Column("counts", Boolean, nullable=False),  # not while its host has an incident
    _one_of("blame", Blame),
)
Index("ix_phone_failures_phone", phone_failures.c.phone_id, phone_failures.c.at)
Index("ix_phone_failures_agent", phone_failures.c.agent_id, phone_failures.c.at)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Words, primary_key=True),
    Column("phone_id", Words, index=True),
    Column("app", Words, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("condition", Words, nullable=False),
    Column("condition_reason", Words, nullable=False),
    _one_of("condition", Condition),
)

groups = Table(
    "groups",
    metadata,
    Column("kind", Words, primary_key=True),  # phone or account
    Column("name", Words, primary_key=True),
    Column("member_id", Words, primary_key=True),
    CheckConstraint("kind IN ('phone', 'account')", name="kind_known"),
)

clean_ups = Table(
    "clean_ups",
    metadata,
    Column("phone_group", Words, primary_key=True),
    Column("steps", Words, nullable=False),  # JSON
)

verifications = Table(
    "verifications",
    metadata,
    Column("capability", Words, primary_key=True),
    Column("profile_version", Words, primary_key=True),
    Column("run_id", Words, ForeignKey("runs.run_id"), nullable=False),
    Column("verified_by", Words, nullable=False),
    Column("verified_at", Instant, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Words, primary_key=True),
    Column("process_id", Words, ForeignKey("capability_requests.process_id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("milestone", Words, nullable=False),
    Column("emitted_at", Instant, nullable=False),
    Column("url", Words, nullable=False),
    # scheme://host:port of the URL; release 0.1.0 leaves it empty
    Column("receiver", Words, nullable=False, server_default=text("''")),
    Column("record", Words, nullable=False),  # JSON, as of the transaction that made the event
    Column("state", Words, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempts_before", Integer, nullable=False, server_default=text("0")),  # last replay
    Column("due_at", Instant, nullable=False),
    Column("first_attempt_at", Instant),
    Column("lease_token", Words),
    Column("gateway_id", Words),
    Column("settled_at", Instant),
    Column("last_error", Words),
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

_PENDING: Final = text("state = 'pending'")
_LEASED: Final = text("state = 'leased'")
Index(
    "ix_deliveries_waiting",
    deliveries.c.receiver,
    deliveries.c.due_at,
    deliveries.c.sequence,
    sqlite_where=_PENDING,
    postgresql_where=_PENDING,
)
Index(
    "ix_deliveries_leased",
    deliveries.c.due_at,
    sqlite_where=_LEASED,
    postgresql_where=_LEASED,
)

delivery_attempts = Table(  # the log of what each attempt met
    "delivery_attempts",
    metadata,
    Column("delivery_id", Words, ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("gateway_id", Words, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", Words, nullable=False),
    Column("http_status", Integer, nullable=False),  # 0 when no answer came
    Column("error", Words, nullable=False),
    CheckConstraint("outcome IN ('delivered', 'failed', 'gone', 'lapsed')", name="outcome_known"),
)

contents = Table(  # what was ingested: the key that makes a repeat a duplicate
    "contents",
    metadata,
    Column("account_id", Words, primary_key=True),
    Column("content_id", Words, primary_key=True),
    Column(
        "process_id",
        Words,
        ForeignKey("capability_requests.process_id"),
        nullable=False,
        index=True,
    ),
    Column("item_id", Words, ForeignKey("queue_items.item_id"), nullable=False, index=True),
)

runtime_snapshots = Table(
    "runtime_snapshots",
    metadata,
    Column("account_id", Words, ForeignKey("accounts.account_id"), primary_key=True),
    Column("snapshot_id", Words, nullable=False),
    Column("strategy_version", BigInteger, nullable=False),
    Column("strategy_synced_at", Instant, nullable=False),
    Column("body", Words, nullable=False),  # JSON: all fields of the request, as they came
    Column("updated_at", Instant, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Words, primary_key=True),
    Column("name", Words, nullable=False),
    Column("digest", Words, nullable=False, unique=True),  # SHA-256 of the key, hexadecimal
    Column("scopes", Words, nullable=False),  # words between spaces
    Column("created_at", Instant, nullable=False),
    Column("created_by", Words, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
)
Index(
    "uq_api_keys_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=text("revoked_at IS NULL"),
    postgresql_where=text("revoked_at IS NULL"),
)

authorities = Table(
    "authorities",
    metadata,
    Column("farm", Words, primary_key=True),  # always "farm": there is one
    Column("fingerprint", Words, nullable=False),  # SHA-256 of the certificate, hexadecimal
)

invitations = Table(
    "invitations",
    metadata,
    Column("invitation_id", Words, primary_key=True),
    Column("digest", Words, nullable=False, unique=True),  # SHA-256 of the secret, hexadecimal
    Column("role", Words, nullable=False),
    Column("member_id", Words, nullable=False),  # empty: the host chooses
    Column("created_at", Instant, nullable=False),
    Column("created_by", Words, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", Words, primary_key=True),  # hexadecimal
    Column("role", Words, nullable=False),
    Column("member_id", Words, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)
Index("ix_certificates_member", certificates.c.role, certificates.c.member_id)

evidence = Table(
    "evidence",
    metadata,
    Column("evidence_id", Words, primary_key=True),
    Column("run_id", Words, nullable=False, index=True),
    Column("process_id", Words, nullable=False, index=True),
    Column("name", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("path", Words, nullable=False),  # below the evidence directory; empty: it is gone
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Words, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("action_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("removed_at", Instant),  # by retention; the file goes behind the commit
    Column("removed_why", Words),
    UniqueConstraint("run_id", "name"),
)
for _name, _column, _condition in (
    ("ix_evidence_kept", evidence.c.received_at, text("removed_at IS NULL")),
    (
        "ix_evidence_leftover",
        evidence.c.removed_at,
        text("removed_at IS NOT NULL AND path <> ''"),
    ),
):
    Index(
        _name,
        _column,
        evidence.c.evidence_id,
        sqlite_where=_condition,
        postgresql_where=_condition,
    )

pauses = Table(
    "pauses",
    metadata,
    Column("scope", Words, primary_key=True),
    Column("name", Words, primary_key=True),  # empty for the scope `all`
    Column("since", Instant, nullable=False),
    Column("by", Words, nullable=False),
    Column("reason", Words, nullable=False),
    _one_of("scope", PauseScope),
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
