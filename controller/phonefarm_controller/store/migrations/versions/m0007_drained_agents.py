"""Agents whose hosts an operator wants empty."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("agents", sa.Column("drain_since", sa.BigInteger()))
    for name in ("drain_by", "drain_reason"):
        op.add_column(
            "agents", sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)
        )
