"""The waiting items whose caller gave a deadline, in its order: pauses do not stop these."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    where = sa.text("state IN ('QUEUED', 'SCHEDULED', 'RETRYABLE') AND deadline_given IS TRUE")
    op.create_index(
        "ix_queue_items_deadline_given",
        "queue_items",
        ["deadline_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
