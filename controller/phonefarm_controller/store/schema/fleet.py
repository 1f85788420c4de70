"""Tables of the fleet: agents, hosts, phones, accounts, groups."""

from typing import Final

from phonefarm_common.wire_enums import Readiness, Transport
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    false,
    text,
)

from phonefarm_controller.model.health import Blame
from phonefarm_controller.model.states import Condition, Health, Intent
from phonefarm_controller.store.schema.types import (
    Instant,
    SafeText,
    metadata,
    one_of,
    partial_index,
)

agents = Table(
    "agents",
    metadata,
    Column("agent_id", SafeText, primary_key=True),
    Column("boot_id", SafeText, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("version", SafeText, nullable=False),
    Column("runtime", SafeText, nullable=False, server_default=text("''")),
    Column("term", BigInteger, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("heard_at", Instant, nullable=False),
    # Phone ids as JSON, for other controllers to show; a moment late.
    Column("offered", SafeText, nullable=False, server_default=text("'[]'")),
    Column("runs_without_app", Boolean, nullable=False, server_default=false()),
    Column("drain_since", Instant),  # an operator wants its host empty
    Column("drain_by", SafeText, nullable=False, server_default=text("''")),
    Column("drain_reason", SafeText, nullable=False, server_default=text("''")),
)

phones = Table(
    "phones",
    metadata,
    Column("phone_id", SafeText, primary_key=True),
    Column("serialno", SafeText, nullable=False, unique=True),
    Column("agent_id", SafeText, nullable=False, index=True),
    Column("adb_serial", SafeText, nullable=False),
    Column("transport", SafeText, nullable=False),
    Column("readiness", SafeText, nullable=False),
    Column("readiness_reason", SafeText, nullable=False),
    Column("health", SafeText, nullable=False),
    Column("health_reason", SafeText, nullable=False),
    Column("intent", SafeText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("model", SafeText, nullable=False),
    Column("android_release", SafeText, nullable=False),
    Column("health_until", Instant),  # when health changes by itself
    Column("cooling_until", Instant),  # no work before this
    Column("rounds", Integer, nullable=False, server_default=text("0")),  # quarantines by failures
    Column("round_at", Instant),
    Column("owed", SafeText, nullable=False, server_default=text("''")),  # domain.health.Owed
    # Since when each axis is as it is, and who wrote it; None from release 0.1.0.
    Column("transport_since", Instant),
    Column("readiness_since", Instant),
    Column("health_since", Instant),
    Column("health_by", SafeText),
    Column("intent_since", Instant),
    Column("intent_by", SafeText),
    one_of("transport", Transport),
    one_of("readiness", Readiness),
    one_of("health", Health),
    one_of("intent", Intent),
)
_CHANGES_BY_TIME: Final = text("health_until IS NOT NULL OR cooling_until IS NOT NULL")
partial_index("ix_phones_until", phones.c.phone_id, where=_CHANGES_BY_TIME)

phone_looks = Table(  # what the agent tells besides the axes; apart from what claims lock and read
    "phone_looks",
    metadata,
    Column("phone_id", SafeText, ForeignKey("phones.phone_id"), primary_key=True),
    Column("stages", SafeText, nullable=False),  # JSON
    Column("needs_hands", SafeText, nullable=False),
    Column("needs_hands_since", Instant),
    Column("battery_percent", Integer),
    Column("battery_celsius", Float),
    Column("storage_free_bytes", BigInteger),
    Column("told_at", Instant, nullable=False),
)

strangers = Table(  # what adb lists and nobody could identify: there is no phone yet
    "strangers",
    metadata,
    Column("agent_id", SafeText, primary_key=True),
    Column("adb_serial", SafeText, primary_key=True),
    Column("transport", SafeText, nullable=False),
    Column("reason", SafeText, nullable=False),
    Column("needs_hands", SafeText, nullable=False),
    Column("since", Instant, nullable=False),
    one_of("transport", Transport),
)

hosts = Table(
    "hosts",
    metadata,
    Column("agent_id", SafeText, primary_key=True),
    Column("withheld", SafeText, nullable=False),  # why none of its phones is offered
    Column("withheld_since", Instant),
    # Up to here its steps of recovery are in the audit.
    Column("recovery_incarnation", BigInteger, nullable=False),
    Column("recovery_number", BigInteger, nullable=False),
)

host_incidents = Table(
    "host_incidents",
    metadata,
    Column("agent_id", SafeText, primary_key=True),
    Column("incident_id", SafeText, primary_key=True),
    Column("seen_by", SafeText, nullable=False),
    Column("kind", SafeText, nullable=False),
    Column("error", SafeText, nullable=False),
    Column("phones", SafeText, nullable=False),  # JSON: ids, or serial numbers nobody knows
    Column("began_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("ended_at", Instant),
    CheckConstraint("seen_by IN ('agent', 'controller')", name="seen_by_known"),
)
_LASTS: Final = text("ended_at IS NULL")
partial_index("ix_host_incidents_open", host_incidents.c.agent_id, where=_LASTS)

phone_failures = Table(  # what was charged to phones, each run once
    "phone_failures",
    metadata,
    Column("run_id", SafeText, primary_key=True),
    Column("phone_id", SafeText, nullable=False),
    Column("agent_id", SafeText, nullable=False),
    Column("process_id", SafeText, nullable=False),
    Column("at", Instant, nullable=False),
    Column("blame", SafeText, nullable=False),
    Column("code", SafeText, nullable=False),
    Column("message", SafeText, nullable=False),
    Column("counts", Boolean, nullable=False),  # not while its host has an incident
    one_of("blame", Blame),
)
Index("ix_phone_failures_phone", phone_failures.c.phone_id, phone_failures.c.at)
Index("ix_phone_failures_agent", phone_failures.c.agent_id, phone_failures.c.at)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", SafeText, primary_key=True),
    Column("phone_id", SafeText, index=True),
    Column("app", SafeText, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("condition", SafeText, nullable=False),
    Column("condition_reason", SafeText, nullable=False),
    one_of("condition", Condition),
)

groups = Table(
    "groups",
    metadata,
    Column("kind", SafeText, primary_key=True),  # phone or account
    Column("name", SafeText, primary_key=True),
    Column("member_id", SafeText, primary_key=True),
    CheckConstraint("kind IN ('phone', 'account')", name="kind_known"),
)

clean_ups = Table(
    "clean_ups",
    metadata,
    Column("phone_group", SafeText, primary_key=True),
    Column("steps", SafeText, nullable=False),  # JSON
)

runtime_snapshots = Table(
    "runtime_snapshots",
    metadata,
    Column("account_id", SafeText, ForeignKey("accounts.account_id"), primary_key=True),
    Column("snapshot_id", SafeText, nullable=False),
    Column("strategy_version", BigInteger, nullable=False),
    Column("strategy_synced_at", Instant, nullable=False),
    Column("body", SafeText, nullable=False),  # JSON: all fields of the request, as they came
    Column("updated_at", Instant, nullable=False),
)

screen_tickets = Table(
    "screen_tickets",
    metadata,
    Column("ticket", SafeText, primary_key=True),
    Column("agent_id", SafeText, nullable=False),
    Column("made_at", Instant, nullable=False),
)
Index("ix_screen_tickets_agent", screen_tickets.c.agent_id, screen_tickets.c.made_at)
