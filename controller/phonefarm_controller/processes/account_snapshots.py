"""Snapshots: keep the newest thing a caller's strategy says of an account."""

from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.processes.content import check_account
from phonefarm_controller.store import account_snapshots, accounts
from phonefarm_controller.store.account_snapshots import Snapshot
from phonefarm_controller.store.database import Database


class UpsertSnapshot:
    """Keeps snapshots."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self, snapshot: Snapshot) -> bool:
        """Keep it unless what is stored is newer; tell whether it was kept.

        Newer is a greater version, or the same version synced later. Runs that were claimed before
        keep what they were handed. FarmError `unknown_account`, `inactive_account`.
        """
        async with self._database.writing() as tx:
            # The lock puts those that come together in a line: none overwrites a newer one.
            known = await accounts.lock(tx, {snapshot.account_id})
            check_account(snapshot.account_id, known)
            stored = await account_snapshots.get(tx, snapshot.account_id)
            if stored is not None and stored.age > snapshot.age:
                return False
            await account_snapshots.put(tx, snapshot)
        return True
