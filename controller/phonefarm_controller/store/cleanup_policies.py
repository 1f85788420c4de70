"""Which steps of a clean-up each phone group wants; a group without a row says nothing."""

import json

from sqlalchemy import delete, select

from phonefarm_controller.model.cleanup import Step
from phonefarm_controller.store.bulk_writes import insert_rows
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import clean_ups


async def all_of(tx: Transaction) -> dict[str, frozenset[Step]]:
    """Return the policy of each group that has one."""
    rows = await tx.connection.execute(select(clean_ups.c.phone_group, clean_ups.c.steps))
    return {row.phone_group: frozenset(map(Step, json.loads(row.steps))) for row in rows}


async def put(tx: Transaction, phone_group: str, steps: frozenset[Step] | None) -> None:
    """Set a group's policy; None: it says nothing any more."""
    await tx.connection.execute(delete(clean_ups).where(clean_ups.c.phone_group == phone_group))
    if steps is not None:
        row = {"phone_group": phone_group, "steps": json.dumps(sorted(steps))}
        await insert_rows(tx, clean_ups, [row])
