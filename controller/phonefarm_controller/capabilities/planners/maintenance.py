"""maintenance: edit the account's own profile, step by step, in one run."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import EditSteps, Field, FreeObject, Text
from phonefarm_controller.model.plans import Action, Plan

MOST_STEPS: Final = 20
LONGEST_VALUE: Final = 500


def _typed(name: str, description: str) -> Text:
    return Text(name=name, description=description, most=LONGEST_VALUE, typed=True)


FIELDS: Final[tuple[Field, ...]] = (
    EditSteps(
        name="steps",
        description=(
            "the steps, in the order in which the run performs them; a step may also have "
            "`mutation_kind` and `randomized`"
        ),
        most=MOST_STEPS,
        required=True,
        actions={
            "edit_profile": (
                _typed("display_name", "the name that the app shows"),
                _typed("username", "the username, without the leading @"),
                _typed("bio", "the text that describes the account"),
            )
        },
    ),
    FreeObject(name="metadata", description="stored with the request; the farm does not use it"),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    edits = [
        Action(kind="edit_profile_field", params={"field": name, "value": value})
        for step in inputs["steps"]
        for name, value in step.params.items()
    ]
    return Plan(actions=(Action(kind="launch_app"), *edits, Action(kind="stop_app")))
