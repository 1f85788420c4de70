"""profile_check: walk the screens of an app profile and look for every selector; change nothing."""

from typing import Final

from phonefarm_controller.model.plans import Action, Plan

CAPABILITY: Final = "profile_check"
"""The process type. Only operators can request it, and not by enqueue."""

SECONDS_PER_SCREEN: Final = 40.0
MOST_SCREENS: Final = 200


def plan(screens: int) -> Plan:
    """Return the plan for a profile with that many screens."""
    look = Action(
        kind="check_profile",
        limit_seconds=60 + SECONDS_PER_SCREEN * min(screens, MOST_SCREENS),
    )
    return Plan(actions=(Action(kind="launch_app"), look, Action(kind="stop_app")))
