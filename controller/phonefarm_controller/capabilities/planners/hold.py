"""A hold: the phone waits for a person, who drives it, until its time is over."""

from typing import Final

from phonefarm_controller.model.plans import Action, Plan

SHORTEST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 3 * 3600


def plan(seconds: float) -> Plan:
    """Return the plan; nothing acts on the phone but who holds it."""
    waiting = Action(kind="hold", params={"seconds": seconds}, limit_seconds=seconds)
    return Plan(actions=(waiting,), dummy={"seconds": seconds})
