"""The timeline: each state change of a process and its items, with who caused it and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

ACCEPTED: Final = "accepted"
"""The reason when a caller's request created the work."""
CANCEL_REQUESTED: Final = "cancel_requested"
"""The reason of a cancellation that has not changed a state yet begins with this."""
CONTROLLER: Final = "controller"
"""The actor when the controller acts by itself."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One move. `number` rises within a process, in the order of the moves."""

    number: int
    process_id: str
    item_id: str | None  # None when the process itself moved
    at: datetime
    from_state: str | None  # None when it was made
    to_state: str
    actor: str
    reason: str
    attempt: int  # 0 before the first
    phone_id: str | None
    account_id: str | None


def by_caller(name: str) -> str:
    """Return the actor for a caller, by the name of its key."""
    return f"caller:{name}"


def by_agent(agent_id: str) -> str:
    """Return the actor for an agent."""
    return f"agent:{agent_id}"


def by_operator(name: str) -> str:
    """Return the actor for an operator, by the name of the key."""
    return f"operator:{name}"
