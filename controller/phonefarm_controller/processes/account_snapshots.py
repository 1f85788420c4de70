"""Stores the newest snapshot of a caller's strategy for an account."""

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.processes.content import check_account
from phonefarm_controller.store import account_snapshots, accounts
from phonefarm_controller.store.account_snapshots import Snapshot
from phonefarm_controller.store.database import Database


@uninterrupted
async def upsert_snapshot(database: Database, snapshot: Snapshot) -> bool:
    """Store the snapshot unless a newer one is stored; return whether it was stored.

    Newer is a greater version, or the same version synced later. Runs that were claimed before
    keep the snapshot they were given. FarmError `unknown_account`, `inactive_account`.
    """
    async with database.writing() as tx:
        # The lock makes concurrent calls take turns: none overwrites a newer snapshot.
        known = await accounts.lock(tx, {snapshot.account_id})
        check_account(snapshot.account_id, known)
        stored = await account_snapshots.get(tx, snapshot.account_id)
        if stored is not None and stored.age > snapshot.age:
            return False
        await account_snapshots.put(tx, snapshot)
    return True
