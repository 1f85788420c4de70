"""The trace in which a process was requested."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("capability_requests", sa.Column("traceparent", sa.Text()))
