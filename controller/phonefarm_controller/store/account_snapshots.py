"""Runtime snapshots: the newest that is known of each account."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.fleet import runtime_snapshots

_s = runtime_snapshots.c


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A caller's strategy for an account; `body` is a JSON object with all its fields."""

    account_id: str
    snapshot_id: str
    strategy_version: int
    strategy_synced_at: datetime
    body: str

    @property
    def age(self) -> tuple[int, datetime]:
        """Return the key that orders snapshots by age: the version, then the time."""
        return self.strategy_version, self.strategy_synced_at


_NAMES = tuple(Snapshot.__dataclass_fields__)


async def get(tx: Transaction, account_id: str) -> Snapshot | None:
    """Return the account's snapshot, None when there is none."""
    query = select(*(_s[name] for name in _NAMES)).where(_s.account_id == account_id)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else Snapshot(**row._asdict())


async def delete(tx: Transaction, account_id: str) -> None:
    """Remove the account's snapshot, if there is one."""
    await tx.connection.execute(runtime_snapshots.delete().where(_s.account_id == account_id))


async def put(tx: Transaction, snapshot: Snapshot) -> None:
    """Make it the account's snapshot; the caller holds the account's lock."""
    values = {name: getattr(snapshot, name) for name in _NAMES} | {"updated_at": tx.now}
    await upsert(tx, runtime_snapshots, [values], key=["account_id"])
