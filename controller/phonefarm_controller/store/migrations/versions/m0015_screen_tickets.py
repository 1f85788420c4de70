"""Tickets that bring agents to the controller where somebody waits to see a screen."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "screen_tickets",
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ticket", name=op.f("pk_screen_tickets")),
    )
    op.create_index("ix_screen_tickets_agent", "screen_tickets", ["agent_id", "made_at"])
