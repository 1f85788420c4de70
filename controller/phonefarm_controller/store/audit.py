"""The audit: who did what to whom, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_missing
from phonefarm_controller.store.schema.cluster import audit

_a = audit.c


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the audit."""

    audit_id: str
    at: datetime
    actor: str
    verb: str
    subject: str
    reason: str


async def note(
    tx: Transaction, *, audit_id: str, actor: str, verb: str, subject: str, reason: str
) -> None:
    """Record in the audit who did what to whom, and why."""
    values = {"audit_id": audit_id, "at": tx.now, "actor": actor}
    values |= {"verb": verb, "subject": subject, "reason": reason}
    await tx.connection.execute(insert(audit).values(values))


async def keep_once(tx: Transaction, entries: Sequence[Entry]) -> None:
    """Keep entries; one that is kept under its id stays as it is."""
    rows = [
        {name: getattr(entry, name) for name in Entry.__dataclass_fields__} for entry in entries
    ]
    await insert_missing(tx, audit, rows)


async def newest(
    tx: Transaction,
    *,
    subjects: Sequence[str] = (),
    since: datetime | None = None,
    verbs_like: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int,
) -> list[Entry]:
    """Return the newest entries, newest first: about any of *subjects*, since a moment.

    *after* is moment and id of the last entry of an earlier page.
    """
    query = select(audit).order_by(_a.at.desc(), _a.audit_id).limit(limit)
    if subjects:
        query = query.where(_a.subject.in_(subjects))
    if since is not None:
        query = query.where(_a.at >= since)
    if after is not None:
        at, audit_id = after
        query = query.where((_a.at < at) | ((_a.at == at) & (_a.audit_id > audit_id)))
    if verbs_like is not None:
        query = query.where(_a.verb.like(verbs_like))
    return [Entry(**row._asdict()) for row in await tx.connection.execute(query)]
