"""The agents that are connected to this controller, their offers, and their streams."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from phonefarm_controller.concurrency.wakeups import WakeUp, WakeUps
from phonefarm_controller.model.run_reports import Assignment, Stop

OUTBOX_SIZE: Final = 1000


class SupersededError(Exception):
    """A newer session of the agent, here or elsewhere, has taken over; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class SupersededBy:
    """The session's end, as a message to the agent: a newer session took over."""

    by_incarnation: int


Push = Assignment | Stop | SupersededBy


class MonotonicClock(Protocol):
    """The part of a clock that a session needs."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


@dataclass(kw_only=True)
class Session:
    """One agent's stream, while it is open."""

    agent_id: str
    term: int
    incarnation: int
    outbox: asyncio.Queue[Push] = field(default_factory=lambda: asyncio.Queue(OUTBOX_SIZE))
    offered: frozenset[str] = frozenset()  # phone ids
    offered_at: float = 0.0
    offer_number: int = -1
    phone_ids: Mapping[str, str] = field(default_factory=dict)  # by serial number
    too_old: str = ""  # why it gets no more work, and is heard until its runs have ended
    reminded: WakeUp = field(default_factory=WakeUp)  # the desired list is worth sending now
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, message: Push) -> None:
        """Queue a message; a full outbox ends the session."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.closed.set()


class Sessions:
    """All sessions of this controller; at most one per agent.

    `offer_lapses` is after how many seconds an offer that was not repeated does not count.
    """

    def __init__(self, *, wakeups: WakeUps, clock: MonotonicClock, offer_lapses: float) -> None:
        self._sessions: dict[str, Session] = {}
        self._wakeups = wakeups
        self._clock = clock
        self.offer_lapses = offer_lapses

    @property
    def alone(self) -> bool:
        """Tell whether no other controller can have agents of this farm."""
        return self._wakeups.alone

    def enter(self, session: Session) -> None:
        """Make it the agent's session; an older one is notified, and ends.

        Two may come to this in another order than they got their terms in: the higher term stays.
        """
        other = self._sessions.get(session.agent_id)
        if other is not None and other.term > session.term:
            session.push(SupersededBy(by_incarnation=other.incarnation))
            return
        self._sessions[session.agent_id] = session
        if other is not None:
            other.push(SupersededBy(by_incarnation=session.incarnation))

    def leave(self, session: Session) -> None:
        """Forget the session, unless a newer one has taken its place."""
        if self._sessions.get(session.agent_id) is session:
            del self._sessions[session.agent_id]

    def of(self, agent_id: str) -> Session | None:
        """Return the agent's session here, None while it has none."""
        return self._sessions.get(agent_id)

    def all(self) -> list[Session]:
        """Return every session."""
        return list(self._sessions.values())

    def offer(self, session: Session, number: int, phone_ids: Iterable[str]) -> None:
        """Take the full set of phones that are fit now; an older number changes nothing."""
        if number <= session.offer_number:
            return
        session.offer_number = number
        session.offered = frozenset(phone_ids)
        session.offered_at = self._clock.monotonic()
        if session.offered:
            self._wakeups.work.set()

    def offers(self) -> list[tuple[Session, frozenset[str]]]:
        """Return the offers that have not lapsed."""
        oldest = self._clock.monotonic() - self.offer_lapses
        return [
            (session, session.offered)
            for session in self._sessions.values()
            if session.offered and session.offered_at >= oldest and not session.closed.is_set()
        ]

    def withdraw(self, agent_id: str, phone_id: str) -> None:
        """Remove a phone from its agent's offer until the agent offers it again."""
        session = self._sessions.get(agent_id)
        if session is not None:
            session.offered -= {phone_id}

    def send(self, messages: Iterable[Assignment | Stop]) -> set[str]:
        """Push each message to its agent when it is here; return the agents that are elsewhere."""
        elsewhere = set()
        for message in messages:
            session = self._sessions.get(message.agent_id)
            if session is None:
                elsewhere.add(message.agent_id)
            else:
                session.push(message)
        return elsewhere

    def remind(self, agent_ids: Iterable[str]) -> None:
        """Have the desired state sent at once to those agents that are connected here."""
        for agent_id in agent_ids:
            session = self._sessions.get(agent_id)
            if session is not None:
                session.reminded.set()
