"""Agents and their sessions' terms."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_unless_there, upsert
from phonefarm_controller.store.schema.fleet import agents

_a = agents.c


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent as its last Hello described it; `term` rises with each of its sessions."""

    agent_id: str
    boot_id: str
    incarnation: int
    version: str
    runtime: str  # docker, process or dummy; empty from an agent before 0.2.0
    term: int
    connected: bool
    heard_at: datetime
    offered: str = "[]"  # phone ids, as last shown
    runs_without_app: bool = False  # its executor takes plans without an app profile
    # An operator's, which no greeting changes:
    drain_since: datetime | None = None
    drain_by: str = ""
    drain_reason: str = ""

    @property
    def offered_ids(self) -> tuple[str, ...]:
        """Return the phones it offers, as last stored for other controllers."""
        return tuple(json.loads(self.offered))

    @property
    def drain(self) -> str:
        """Return who wants its host empty and why, in words; empty when nobody does."""
        return f"by {self.drain_by}: {self.drain_reason}" if self.drain_since else ""


_NAMES = tuple(Agent.__dataclass_fields__)
_HELLO = tuple(name for name in _NAMES if not name.startswith("drain"))
_COLUMNS = [agents.c[name] for name in _NAMES]
_GET = Statement(select(*_COLUMNS).where(among(_a.agent_id, "ids")))
_DRAINED = Statement(select(*_COLUMNS).where(_a.drain_since.is_not(None)))
_WITHOUT_APP = Statement(select(_a.agent_id).where(_a.runs_without_app))
_TERMS = Statement(select(_a.agent_id, _a.term).where(among(_a.agent_id, "ids")))


async def lock_or_new(tx: Transaction, new: Agent) -> Agent:
    """Return the agent of this id as it is known, else *new*; locked until the end either way."""
    values = {name: getattr(new, name) for name in _NAMES}
    await insert_unless_there(tx, agents, values)
    query = select(*_COLUMNS).where(_a.agent_id == new.agent_id).with_for_update()
    return _agent((await tx.connection.execute(query)).one())


async def get(tx: Transaction, agent_ids: set[str]) -> dict[str, Agent]:
    """Return the agents by id; unknown ones are missing."""
    rows = await _GET.rows(tx, ids=list(agent_ids))
    return {agent.agent_id: agent for agent in values_of(Agent, _NAMES, rows)}


async def put(tx: Transaction, agent: Agent) -> None:
    """Create the agent, or replace all that it says of itself."""
    values = {name: getattr(agent, name) for name in _HELLO}
    await upsert(tx, agents, [values], key=["agent_id"])


async def drain_if_known(tx: Transaction, agent_id: str, *, by: str, reason: str) -> bool:
    """Keep that its host shall become empty; False when there is no such agent."""
    values = {"drain_since": tx.now, "drain_by": by, "drain_reason": reason}
    result = await tx.connection.execute(
        update(agents).where(_a.agent_id == agent_id).values(values)
    )
    return result.rowcount == 1


async def undrain_if_drained(tx: Transaction, agent_id: str) -> bool:
    """End the drain of the agent; False when nobody drained it."""
    values = {"drain_since": None, "drain_by": "", "drain_reason": ""}
    drained = (_a.agent_id == agent_id) & _a.drain_since.is_not(None)
    return (await tx.connection.execute(update(agents).where(drained).values(values))).rowcount == 1


async def drained(tx: Transaction) -> dict[str, str]:
    """Return, for each drained agent, who drained it and why."""
    found = values_of(Agent, _NAMES, await _DRAINED.rows(tx))
    return {agent.agent_id: agent.drain for agent in found}


async def without_app(tx: Transaction) -> set[str]:
    """Return the agents that carry out plans without an app profile."""
    return {agent_id for (agent_id,) in await _WITHOUT_APP.rows(tx)}


async def heard_in_term(tx: Transaction, agent_id: str, term: int) -> bool:
    """Note that the agent was heard; False when a newer session has taken over."""
    result = await tx.connection.execute(
        update(agents)
        .where(_a.agent_id == agent_id, _a.term == term)
        .values(heard_at=tx.now, connected=True)
    )
    return result.rowcount == 1


async def offer_in_term(
    tx: Transaction, agent_id: str, term: int, phone_ids: Iterable[str]
) -> bool:
    """Store what the agent offers; False when a newer session has taken over."""
    result = await tx.connection.execute(
        update(agents)
        .where(_a.agent_id == agent_id, _a.term == term)
        .values(offered=json.dumps(sorted(phone_ids)))
    )
    return result.rowcount == 1


async def heard(tx: Transaction, *, since: datetime) -> list[Agent]:
    """Return the agents that are connected somewhere and were heard *since*, by id."""
    query = select(*_COLUMNS).where(_a.connected, _a.heard_at >= since).order_by(_a.agent_id)
    return [_agent(row) for row in await tx.connection.execute(query)]


async def terms(tx: Transaction, agent_ids: Iterable[str]) -> dict[str, int]:
    """Return the terms of the agents' newest sessions; unknown agents are missing."""
    rows = await _TERMS.rows(tx, ids=list(set(agent_ids)))
    return {str(agent_id): int(term) for agent_id, term in rows}


async def disconnect_in_term(tx: Transaction, agent_id: str, term: int) -> bool:
    """Note that the session is over; False when a newer one has taken over."""
    result = await tx.connection.execute(
        update(agents).where(_a.agent_id == agent_id, _a.term == term).values(connected=False)
    )
    return result.rowcount == 1


async def end_session(tx: Transaction, agent_id: str) -> None:
    """Give the agent's session's term to nobody: whichever controller has it, it writes no more."""
    await tx.connection.execute(
        update(agents).where(_a.agent_id == agent_id).values(term=_a.term + 1, connected=False)
    )


async def reset_identity(tx: Transaction, agent_id: str) -> None:
    """End the agent's session and let another host go on under its name, from any incarnation."""
    await end_session(tx, agent_id)
    await tx.connection.execute(update(agents).where(_a.agent_id == agent_id).values(incarnation=0))


async def all_of(tx: Transaction) -> list[Agent]:
    """Return every agent, by id."""
    query = select(*_COLUMNS).order_by(_a.agent_id)
    return [_agent(row) for row in await tx.connection.execute(query)]


def _agent(row: Row[Any]) -> Agent:
    return Agent(**row._asdict())
