"""The whole public contract: timeline, content, snapshots, keys, the log of deliveries.

Only additions that release 0.1.0 can write beside: new columns are nullable or have a default.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "capability_requests",
        sa.Column("verification", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("runs", sa.Column("snapshot_id", sa.Text()))
    op.add_column("runs", sa.Column("snapshot", sa.Text()))
    op.add_column("runs", sa.Column("runtime", sa.Text()))
    op.add_column(
        "agents", sa.Column("runtime", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column(
        "deliveries",
        sa.Column("receiver", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.add_column(
        "deliveries",
        sa.Column("attempts_before", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("deliveries", sa.Column("gateway_id", sa.Text()))
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["receiver", "due_at", "sequence"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["due_at"],
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "transitions",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.Text()),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("phone_id", sa.Text()),
        sa.Column("account_id", sa.Text()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_transitions")),
    )
    op.create_index("ix_transitions_process", "transitions", ["process_id", "number"])
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('delivered', 'failed', 'gone', 'lapsed')",
            name=op.f("ck_delivery_attempts_outcome_known"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.delivery_id"],
            name=op.f("fk_delivery_attempts_delivery_id"),
        ),
        sa.PrimaryKeyConstraint("delivery_id", "attempt", name=op.f("pk_delivery_attempts")),
    )
    op.create_table(
        "contents",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("content_id", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["process_id"],
            ["capability_requests.process_id"],
            name=op.f("fk_contents_process_id"),
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["queue_items.item_id"], name=op.f("fk_contents_item_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "content_id", name=op.f("pk_contents")),
    )
    op.create_table(
        "runtime_snapshots",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("strategy_version", sa.BigInteger(), nullable=False),
        sa.Column("strategy_synced_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_runtime_snapshots_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_runtime_snapshots")),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(
        "uq_api_keys_name",
        "api_keys",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
