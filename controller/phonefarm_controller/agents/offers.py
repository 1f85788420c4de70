"""Which phones agents offer, here and as other controllers wrote down: an agent speaks with one."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from phonefarm_controller.agents.sessions import Session, Sessions
from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.store import agents
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction


@dataclass(frozen=True, kw_only=True)
class OfferedPhone:
    """A phone that an agent says is fit now, in which term of its session it said so."""

    agent_id: str
    term: int
    phone_id: str


def offered_in(sessions: Sessions) -> list[OfferedPhone]:
    """Return every phone that an agent here offers now."""
    return [
        OfferedPhone(agent_id=session.agent_id, term=session.term, phone_id=phone_id)
        for session, phone_ids in sessions.offers()
        for phone_id in phone_ids
    ]


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


PERIOD_SECONDS: Final = 1.0
"""How late it is seen; what changes in between is never written."""


async def showing(*, show: ShowOffers, sessions: Sessions, pulse: Pulse) -> None:
    """Write until cancelled, in one transaction, only what has changed."""
    shown: dict[tuple[str, int], frozenset[str]] = {}
    while True:
        pulse.beat()
        await asyncio.sleep(PERIOD_SECONDS)
        now = {(each.agent_id, each.term): each for each in sessions.all()}
        changed = [each for key, each in now.items() if shown.get(key, frozenset()) != each.offered]
        with enduring("showing"):
            offered = {key: each.offered for key, each in now.items()}
            if changed:
                await show(changed)
            shown = offered
