"""Retention: evidence whose file had its time, and finding what is old."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("evidence", sa.Column("removed_at", sa.BigInteger()))
    op.add_column("evidence", sa.Column("removed_why", sa.Text()))
    for name, column, condition in (
        ("ix_evidence_kept", "received_at", "removed_at IS NULL"),
        ("ix_evidence_leftover", "removed_at", "removed_at IS NOT NULL AND path <> ''"),
    ):
        op.create_index(
            name,
            "evidence",
            [column, "evidence_id"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.create_index(
        "ix_requests_finished",
        "capability_requests",
        ["finished_at", "process_id"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    # Or removing a process or an item would look through all that was ever ingested.
    op.create_index("ix_contents_process_id", "contents", ["process_id"])
    op.create_index("ix_contents_item_id", "contents", ["item_id"])
