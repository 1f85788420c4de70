"""Adds tables for several controllers: owners of loops, and offers of agents."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "loop_leases",
        sa.Column("loop", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("loop", name=op.f("pk_loop_leases")),
    )
    op.add_column(
        "agents", sa.Column("offered", sa.Text(), server_default=sa.text("'[]'"), nullable=False)
    )
