"""The desired state: all orders to an agent, sent again and again in case one is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import given_up
from phonefarm_controller.model.run_reports import Assignment, RunRef, Stop, stop_of
from phonefarm_controller.model.states import ItemState, LeaseState, RunState
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.store import items, leases, phones, screen_tickets
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.leases import HeldWork


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """All orders to one agent."""

    claimed: tuple[Assignment, ...]
    executing: tuple[RunRef, ...]
    stops: tuple[Stop, ...]
    screens: tuple[str, ...]
    """The tickets of viewers who wait to see a screen."""


class DesiredStateReader:
    """Reads the desired state of agents."""

    def __init__(self, *, database: Database, assignments: AssignmentBuilder) -> None:
        self._database = database
        self._assignments = assignments

    @uninterrupted
    async def __call__(self, agent_id: str) -> DesiredState:
        """Return the desired state of this agent as of now."""
        async with self._database.reading() as tx:
            held = await leases.held_work(tx, agent_id)
            executing: list[RunRef] = []
            stops: list[Stop] = []
            claims: list[HeldWork] = []
            cancelled: list[HeldWork] = []
            for work in held:
                current = work.state is LeaseState.LIVE and work.item_lease_id == work.lease_id
                if current and work.cancelled:
                    cancelled.append(work)
                elif current and work.item_state is ItemState.EXECUTING:
                    executing.append(_ref(work))
                elif current and work.item_state is ItemState.CLAIMED:
                    claims.append(work)
                elif work.run_state in {RunState.ENDED, RunState.VOIDED} and not given_up(
                    work.state, work.reason
                ):
                    # The phone waits for the agent's word whether it is clean.
                    stops.append(
                        Stop(
                            agent_id=agent_id,
                            run=_ref(work),
                            reason="the run is over",
                            strategy="hard",
                            force_after_seconds=0,
                        )
                    )
            known = await items.get(tx, {work.item_id for work in (*claims, *cancelled)})
            # What has moved since the first read is left out: the next list has it.
            for work in cancelled:
                item = known[work.item_id]
                if item.cancel is not None and item.lease_id == work.lease_id:
                    stops.append(stop_of(item, agent_id))
            waiting = [
                (item, work.lease_id)
                for work in claims
                if (item := known[work.item_id]).state is ItemState.CLAIMED
                and item.lease_id == work.lease_id
                and item.cancel is None
            ]
            claimed = await self._assigned(tx, waiting)
            screens = await screen_tickets.of_agent(tx, agent_id)
        return DesiredState(
            claimed=tuple(claimed),
            executing=tuple(executing),
            stops=tuple(stops),
            screens=screens,
        )

    async def _assigned(
        self, tx: Transaction, waiting: Sequence[tuple[Item, str]]
    ) -> list[Assignment]:
        """Return the assignments of these items, each given with its lease's id."""
        if not waiting:
            return []
        held = await leases.get(tx, [lease_id for _, lease_id in waiting])
        # By the lease, not by whose phone it is now: it may have moved to another agent.
        lent = await phones.get(tx, {lease.phone_id for lease in held.values()})
        serials = {phone.phone_id: phone.serialno for phone in lent.values()}
        claims = [(item, held[lease_id]) for item, lease_id in waiting]
        return await self._assignments.build(tx, claims, serials)


def _ref(work: HeldWork) -> RunRef:
    return RunRef(
        run_id=work.run_id,
        item_id=work.item_id,
        attempt=work.attempt,
        lease_id=work.lease_id,
        epoch=work.epoch,
    )
