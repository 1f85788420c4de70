"""Limits: how many runs a day, how far apart, and how many at once."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "limits",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('runs_per_day', 'seconds_between_runs', 'runs_at_once')",
            name=op.f("ck_limits_kind_known"),
        ),
        sa.CheckConstraint(
            "scope IN ('account', 'every_account', 'group', 'app', 'agent')",
            name=op.f("ck_limits_scope_known"),
        ),
        sa.PrimaryKeyConstraint("kind", "scope", "name", name=op.f("pk_limits")),
    )
    where = sa.text("started_at IS NOT NULL")
    op.create_index(
        "ix_runs_account_started",
        "runs",
        ["account_id", "started_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
