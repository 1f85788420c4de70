"""The desired state: all that an agent should do; repeated, so that a lost message does no harm."""

from dataclasses import dataclass

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.run_reports import Assignment, RunRef, Stop, stop_of
from phonefarm_controller.model.states import ItemState, LeaseState, RunState
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.store import items, leases, phones, runs, screen_tickets
from phonefarm_controller.store.database import Database


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """What one agent should do."""

    claimed: tuple[Assignment, ...]
    executing: tuple[RunRef, ...]
    stops: tuple[Stop, ...]
    screens: tuple[str, ...]
    """The tickets of those who wait to see a screen."""


class DesiredStateReader:
    """Reads the desired state of agents."""

    def __init__(self, *, database: Database, assignments: AssignmentBuilder) -> None:
        self._database = database
        self._assignments = assignments

    @uninterrupted
    async def __call__(self, agent_id: str) -> DesiredState:
        """Return the desired state of this agent as of now."""
        async with self._database.reading() as tx:
            held = await leases.held_by(tx, agent_id)
            lines = await items.get(tx, {lease.item_id for lease in held})
            known = await runs.get(tx, {lease.run_id for lease in held})
            # By the lease, not by whose phone it is now: it may have moved to another agent.
            lent = await phones.get(tx, {lease.phone_id for lease in held})
            serials = {phone.phone_id: phone.serialno for phone in lent.values()}
            executing: list[RunRef] = []
            stops: list[Stop] = []
            claims = []
            for lease in held:
                item, run = lines[lease.item_id], known[lease.run_id]
                ref = RunRef(
                    run_id=run.run_id,
                    item_id=run.item_id,
                    attempt=run.attempt,
                    lease_id=run.lease_id,
                    epoch=run.epoch,
                )
                current = lease.state is LeaseState.LIVE and item.lease_id == lease.lease_id
                if current and item.cancel is not None:
                    stops.append(stop_of(item, agent_id))
                elif current and item.state is ItemState.EXECUTING:
                    executing.append(ref)
                elif current and item.state is ItemState.CLAIMED:
                    claims.append((item, lease))
                elif run.state in {RunState.ENDED, RunState.VOIDED} and not lease.given_up:
                    # The phone waits for the agent's word whether it is clean.
                    stops.append(
                        Stop(
                            agent_id=agent_id,
                            run=ref,
                            reason="the run is over",
                            strategy="hard",
                            force_after_seconds=0,
                        )
                    )
            claimed = await self._assignments.build(tx, claims, serials)
            screens = await screen_tickets.of_agent(tx, agent_id)
        return DesiredState(
            claimed=tuple(claimed),
            executing=tuple(executing),
            stops=tuple(stops),
            screens=screens,
        )
