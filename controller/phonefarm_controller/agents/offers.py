"""Which phones agents offer: to this controller, and to others as those have stored it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from phonefarm_controller.agents.sessions import Session, Sessions
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import every
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.store import agents
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction


@dataclass(frozen=True, kw_only=True)
class OfferedPhone:
    """A phone that an agent says is fit now, in which term of its session it said so."""

    agent_id: str
    term: int
    phone_id: str


def offers_here(sessions: Sessions) -> list[OfferedPhone]:
    """Return every phone that an agent here offers now."""
    return [
        OfferedPhone(agent_id=session.agent_id, term=session.term, phone_id=phone_id)
        for session, phone_ids in sessions.offers()
        for phone_id in phone_ids
    ]


@uninterrupted
async def publish_offers(database: Database, sessions: Iterable[Session]) -> None:
    """Store what each session offers, for other controllers to show; nobody claims by it.

    A session whose agent has a newer one changes nothing.
    """
    async with database.writing() as tx:
        for session in sorted(sessions, key=lambda session: session.agent_id):
            await agents.offer_in_term(tx, session.agent_id, session.term, session.offered)


async def agents_elsewhere(tx: Transaction, sessions: Sessions) -> list[Agent]:
    """Return the agents that speak with other controllers; those that fell silent do not."""
    if sessions.alone:
        return []
    known = await agents.heard(tx, since=tx.now - timedelta(seconds=sessions.offer_lapses))
    return [agent for agent in known if sessions.of(agent.agent_id) is None]


def stored_offers(known: Iterable[Agent]) -> list[OfferedPhone]:
    """Return what these agents offer, as last stored."""
    return [
        OfferedPhone(agent_id=agent.agent_id, term=agent.term, phone_id=phone_id)
        for agent in known
        for phone_id in agent.offered_ids
    ]


PERIOD_SECONDS: Final = 1.0
"""Other controllers see an offer at most this late; they see only the newest offer."""


async def run_offer_publisher(
    liveness: Liveness, *, database: Database, sessions: Sessions
) -> None:
    """Publish offers until cancelled: in one transaction, only those that have changed."""
    shown: dict[tuple[str, int], frozenset[str]] = {}

    async def publish() -> None:
        nonlocal shown
        now = {(each.agent_id, each.term): each for each in sessions.all()}
        changed = [each for key, each in now.items() if shown.get(key, frozenset()) != each.offered]
        offered = {key: each.offered for key, each in now.items()}
        if changed:
            await publish_offers(database, changed)
        shown = offered

    await every(PERIOD_SECONDS, "offer_publisher", publish, liveness=liveness)
