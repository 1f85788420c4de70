"""A heartbeat renews every lease it names, in one write."""

from collections.abc import Sequence

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.run_reports import RunRef
from phonefarm_controller.store import agents, leases
from phonefarm_controller.store.database import Database


@uninterrupted
async def renew_leases(
    database: Database, agent_id: str, term: int, held: Sequence[RunRef]
) -> list[RunRef] | None:
    """Renew the leases of these runs; return the runs whose lease is lost.

    None when a newer session has taken over.
    """
    async with database.writing() as tx:
        if not await agents.heard_in_term(tx, agent_id, term):
            return None
        kept = await leases.renew_if_live(tx, agent_id, {ref.lease_id: ref.epoch for ref in held})
    return [ref for ref in held if ref.lease_id not in kept]
