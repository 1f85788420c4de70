"""Offers as other controllers see them: an agent speaks with one, and operators ask any."""

from collections.abc import Iterable
from datetime import timedelta

from phonefarm_controller.operations.claim import OfferedPhone
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.registry import Session, Sessions
from phonefarm_controller.store import agents
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction


class ShowOffers:
    """Writes down what the agents here offer. Nobody claims by it."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    @whole
    async def __call__(self, sessions: Iterable[Session]) -> None:
        """Keep what each session offers; one whose agent has a newer session changes nothing."""
        async with self._database.writing() as tx:
            for session in sorted(sessions, key=lambda session: session.agent_id):
                await agents.offer_in_term(tx, session.agent_id, session.term, session.offered)


async def others(tx: Transaction, sessions: Sessions) -> list[Agent]:
    """Return the agents that speak with other controllers; those that fell silent do not."""
    if sessions.alone:
        return []
    known = await agents.heard(tx, since=tx.now - timedelta(seconds=sessions.offer_lapses))
    return [agent for agent in known if sessions.of(agent.agent_id) is None]


def offers_of(known: Iterable[Agent]) -> list[OfferedPhone]:
    """Return what these agents offer, as last shown."""
    return [
        OfferedPhone(agent_id=agent.agent_id, term=agent.term, phone_id=phone_id)
        for agent in known
        for phone_id in agent.offered_ids
    ]
