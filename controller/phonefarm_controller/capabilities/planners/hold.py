"""Plans a hold: a person drives the phone until the time of the hold is over."""

from typing import Final

from phonefarm_controller.model.plans import Action, Plan

SHORTEST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 3 * 3600


def plan(seconds: float) -> Plan:
    """Return the plan, which has no actions: only the person who holds the phone acts on it."""
    waiting = Action(kind="hold", params={"seconds": seconds}, limit_seconds=seconds)
    return Plan(actions=(waiting,), dummy={"seconds": seconds})
