"""Golden jobs: those of a phone, those of the last day, and what a quarantined phone still owes."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _index(
        "ix_queue_items_alone",
        "want_phone_id",
        "capability IN ('hold', 'golden_job') AND finished_at IS NULL",
    )
    _index("ix_queue_items_golden_made", "created_at", "capability = 'golden_job'")
    op.drop_index("ix_queue_items_holds", "queue_items")
    owed = sa.Column("owed", sa.Text(), server_default=sa.text("''"), nullable=False)
    op.add_column("phones", owed)
    op.execute(
        "UPDATE phones SET owed = 'time' WHERE health = 'quarantined' AND round_at IS NOT NULL"
    )


def _index(name: str, column: str, where: str) -> None:
    op.create_index(
        name, "queue_items", [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
