"""Recorded verifications: one for each capability and version of an app profile."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.work import queue_items, runs, verifications

_v = verifications.c
_COLUMNS = (_v.capability, _v.profile_version, _v.run_id, _v.verified_by, _v.verified_at)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A run that verified a capability with this version of an app profile."""

    capability: str
    profile_version: str
    run_id: str
    process_id: str
    phone_id: str
    verified_by: str
    verified_at: datetime


async def of_versions(tx: Transaction, versions: Iterable[str]) -> list[Verification]:
    """Return what is recorded for these profile versions."""
    query = (
        select(*_COLUMNS, queue_items.c.process_id, runs.c.phone_id)
        .join(runs, runs.c.run_id == _v.run_id)
        .join(queue_items, queue_items.c.item_id == runs.c.item_id)
        .where(_v.profile_version.in_(set(versions)))
    )
    return [Verification(**row._asdict()) for row in await tx.connection.execute(query)]


async def is_recorded(tx: Transaction, capability: str, profile_version: str) -> bool:
    """Tell whether the capability was live verified with this profile version."""
    query = select(_v.run_id).where(
        _v.capability == capability, _v.profile_version == profile_version
    )
    return (await tx.connection.execute(query)).one_or_none() is not None


async def put(tx: Transaction, verification: Verification) -> None:
    """Record the verification in the place of an older one of the same version."""
    values = {column.name: getattr(verification, column.name) for column in _COLUMNS}
    await upsert(tx, verifications, [values], key=["capability", "profile_version"])
