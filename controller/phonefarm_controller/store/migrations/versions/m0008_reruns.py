"""Processes that repeat the request of another."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("capability_requests", sa.Column("rerun_of", sa.Text()))
    op.create_index("uq_requests_rerun_of", "capability_requests", ["rerun_of"], unique=True)
