"""The walk of what can be claimed now, whatever else waits."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_READY = "state IN ('QUEUED', 'SCHEDULED') AND ready IS TRUE"
_TURN: list[str | sa.TextClause] = [sa.text("priority DESC"), "created_at", "ordinal", "item_id"]


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "queue_items", sa.Column("ready", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.drop_index("ix_queue_items_bound", "queue_items")
    op.drop_index("ix_queue_items_open", "queue_items")
    _index(
        "ix_queue_items_bound_ready", ["want_phone_id", "want_account_id", "app", *_TURN], _READY
    )
    _index(
        "ix_queue_items_open_ready",
        ["app", "want_phone_group", *_TURN],
        f"{_READY} AND want_phone_id IS NULL",
    )
    _index(
        "ix_queue_items_unready",
        ["ready_at"],
        "state IN ('QUEUED', 'SCHEDULED') AND ready IS NOT TRUE",
    )
    _index("ix_queue_items_holds", ["want_phone_id"], "capability = 'hold' AND finished_at IS NULL")


def _index(name: str, columns: Sequence[str | sa.TextClause], where: str) -> None:
    op.create_index(
        name, "queue_items", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
