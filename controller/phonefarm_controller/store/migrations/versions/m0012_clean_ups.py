"""Clean-up by pool."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "clean_ups",
        sa.Column("phone_group", sa.Text(), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("phone_group", name=op.f("pk_clean_ups")),
    )
