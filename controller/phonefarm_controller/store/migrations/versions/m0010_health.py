"""Health of phones and hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TRANSPORTS = (
    "'absent', 'offline', 'unauthorized', 'no_permission', 'recovery', 'bootloader', 'online'"
)


def upgrade() -> None:
    """Apply."""
    for column in (
        sa.Column("health_until", sa.BigInteger()),
        sa.Column("cooling_until", sa.BigInteger()),
        sa.Column("rounds", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("round_at", sa.BigInteger()),
        sa.Column("transport_since", sa.BigInteger()),
        sa.Column("readiness_since", sa.BigInteger()),
        sa.Column("health_since", sa.BigInteger()),
        sa.Column("health_by", sa.Text()),
        sa.Column("intent_since", sa.BigInteger()),
        sa.Column("intent_by", sa.Text()),
    ):
        op.add_column("phones", column)
    _index(
        "ix_phones_until",
        "phones",
        ["phone_id"],
        "health_until IS NOT NULL OR cooling_until IS NOT NULL",
    )
    op.create_table(
        "phone_looks",
        sa.Column("phone_id", sa.Text(), nullable=False),
        sa.Column("stages", sa.Text(), nullable=False),
        sa.Column("needs_hands", sa.Text(), nullable=False),
        sa.Column("needs_hands_since", sa.BigInteger()),
        sa.Column("battery_percent", sa.Integer()),
        sa.Column("battery_celsius", sa.Float()),
        sa.Column("storage_free_bytes", sa.BigInteger()),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["phone_id"], ["phones.phone_id"], name=op.f("fk_phone_looks_phone_id")
        ),
        sa.PrimaryKeyConstraint("phone_id", name=op.f("pk_phone_looks")),
    )
    op.create_table(
        "strangers",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("adb_serial", sa.Text(), nullable=False),
        sa.Column("transport", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("needs_hands", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            f"transport IN ({_TRANSPORTS})", name=op.f("ck_strangers_transport_known")
        ),
        sa.PrimaryKeyConstraint("agent_id", "adb_serial", name=op.f("pk_strangers")),
    )
    op.create_table(
        "hosts",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("withheld", sa.Text(), nullable=False),
        sa.Column("withheld_since", sa.BigInteger()),
        sa.Column("recovery_incarnation", sa.BigInteger(), nullable=False),
        sa.Column("recovery_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_hosts")),
    )
    op.create_table(
        "host_incidents",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("seen_by", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("phones", sa.Text(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.CheckConstraint(
            "seen_by IN ('agent', 'controller')", name=op.f("ck_host_incidents_seen_by_known")
        ),
        sa.PrimaryKeyConstraint("agent_id", "incident_id", name=op.f("pk_host_incidents")),
    )
    _index("ix_host_incidents_open", "host_incidents", ["agent_id"], "ended_at IS NULL")
    op.create_table(
        "phone_failures",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("phone_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("blame", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "blame IN ('infra', 'set_up', 'clean_up')", name=op.f("ck_phone_failures_blame_known")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_phone_failures")),
    )
    op.create_index("ix_phone_failures_phone", "phone_failures", ["phone_id", "at"])
    op.create_index("ix_phone_failures_agent", "phone_failures", ["agent_id", "at"])
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_subject", "audit", ["subject", "at"])


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
