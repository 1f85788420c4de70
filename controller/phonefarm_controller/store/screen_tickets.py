"""Tickets of viewers who wait to see a screen; the desired state takes each to its agent."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, insert, select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import screen_tickets

LIFE: Final = timedelta(seconds=15)
_t = screen_tickets.c


async def insert_new(tx: Transaction, ticket: str, *, agent_id: str) -> None:
    """Keep a ticket for its agent, and remove those that are over: their controller has ended."""
    await tx.connection.execute(delete(screen_tickets).where(_t.made_at < tx.now - 4 * LIFE))
    values = {"ticket": ticket, "agent_id": agent_id, "made_at": tx.now}
    await tx.connection.execute(insert(screen_tickets).values(values))


async def remove(tx: Transaction, ticket: str) -> None:
    """Remove a ticket, if it is there."""
    await tx.connection.execute(delete(screen_tickets).where(_t.ticket == ticket))


async def of_agent(tx: Transaction, agent_id: str) -> tuple[str, ...]:
    """Return the agent's tickets that count, the oldest first."""
    query = (
        select(_t.ticket)
        .where(_t.agent_id == agent_id, _t.made_at >= tx.now - LIFE)
        .order_by(_t.made_at, _t.ticket)
    )
    return tuple((await tx.connection.execute(query)).scalars())
