"""The evidence of runs: a row for each stored file."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.work import evidence


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One kept file of a run; `path` is below the evidence directory.

    Removed by retention it has a `removed_at` and the reason; its file goes behind that.
    """

    evidence_id: str
    run_id: str
    process_id: str
    name: str
    kind: str
    path: str
    bytes: int
    sha256: str
    truncated: bool
    action_index: int
    received_at: datetime
    removed_at: datetime | None = None
    removed_why: str | None = None


async def evidence_named(tx: Transaction, run_id: str, name: str) -> Evidence | None:
    """Return the run's evidence of this name, None when there is none."""
    query = select(evidence).where(evidence.c.run_id == run_id, evidence.c.name == name)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else Evidence(**row._asdict())


async def keep_evidence(tx: Transaction, kept: Evidence) -> None:
    """Keep the file's line; the run has none of this name."""
    values = {name: getattr(kept, name) for name in Evidence.__dataclass_fields__}
    await tx.connection.execute(insert(evidence).values(values))


async def evidence_of(
    tx: Transaction, process_id: str, *, evidence_id: str | None = None
) -> list[Evidence]:
    """Return the evidence of the process, oldest first; only the one of the id when it is given."""
    query = (
        select(evidence)
        .where(evidence.c.process_id == process_id)
        .order_by(evidence.c.received_at, evidence.c.name)
    )
    if evidence_id is not None:
        query = query.where(evidence.c.evidence_id == evidence_id)
    return [Evidence(**row._asdict()) for row in await tx.connection.execute(query)]


async def newest_evidence(tx: Transaction) -> str | None:
    """Return the path of the evidence kept last, None when there is none."""
    query = (
        select(evidence.c.path)
        .where(evidence.c.removed_at.is_(None))
        .order_by(evidence.c.received_at.desc())
        .limit(1)
    )
    path: str | None = (await tx.connection.execute(query)).scalar_one_or_none()
    return path
