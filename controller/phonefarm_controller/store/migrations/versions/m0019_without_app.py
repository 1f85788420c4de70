"""Work without an app: the agents that can do it, and what waits for it, in the queue's order."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "agents",
        sa.Column("runs_without_app", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    where = sa.text("state IN ('QUEUED', 'SCHEDULED') AND ready IS TRUE AND app = ''")
    op.create_index(
        "ix_queue_items_without_app_ready",
        "queue_items",
        ["want_phone_id", sa.text("priority DESC"), "created_at", "ordinal", "item_id"],
        sqlite_where=where,
        postgresql_where=where,
    )
