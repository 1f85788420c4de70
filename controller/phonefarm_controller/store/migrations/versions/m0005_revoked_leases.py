"""Leases that an operator took from their runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "leases", sa.Column("revoked", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
