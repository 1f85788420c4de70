"""maintenance: edit the account's own profile, step by step, in one run."""

from typing import Any

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.domain.inputs import Inputs
from phonefarm_controller.domain.plans import Action, Plan

FIELDS = ("display_name", "username", "bio")
MOST_STEPS = 20
LONGEST_VALUE = 500


def plan(inputs: Inputs) -> Plan:
    """Return the plan; FarmError names every wrong step."""
    steps = inputs.anything("steps")
    metadata = inputs.anything("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        inputs.problem("metadata", "must be an object")
    actions = [Action(kind="launch_app")]
    if not isinstance(steps, list) or not 1 <= len(steps) <= MOST_STEPS:
        inputs.problem("steps", f"must be a list of 1 to {MOST_STEPS} steps")
    else:
        for place, step in enumerate(steps):
            actions.extend(_step(inputs, place, step))
    dummy = inputs.anything("dummy") or {}
    inputs.finish()
    actions.append(Action(kind="stop_app"))
    return Plan(actions=tuple(actions), dummy=dummy)


def _step(inputs: Inputs, place: int, step: Any) -> list[Action]:
    where = f"steps[{place}]"
    if not isinstance(step, dict):
        inputs.problem(where, "must be an object with action and params")
        return []
    action = step.get("action")
    if not isinstance(action, str):
        inputs.problem(f"{where}.action", "is required and must be a string")
        return []
    if action != "edit_profile":
        raise FarmError(
            Reason.UNSUPPORTED_ACTION,
            f"the maintenance action {action!r} is not supported; use edit_profile",
            detail=action[:64],
            problems=(
                FieldProblem(field=f"inputs.{where}.action", message="must be edit_profile"),
            ),
        )
    params = step.get("params")
    if not isinstance(params, dict) or not any(params.get(name) is not None for name in FIELDS):
        inputs.problem(f"{where}.params", f"must give at least one of {', '.join(FIELDS)}")
        return []
    edits = []
    for name in FIELDS:
        value = params.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_VALUE:
            message = f"must be a string of 1 to {LONGEST_VALUE} characters that is not blank"
            inputs.problem(f"{where}.params.{name}", message)
            continue
        edits.append(Action(kind="edit_profile_field", params={"field": name, "value": value}))
    return edits
