"""take_screenshot: keep a picture of what the phone shows. It needs no app and no account."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field, Flag
from phonefarm_controller.model.plans import Action, Plan

NAME: Final = "screen"
"""The beginning of the evidence files' names."""

FIELDS: Final[tuple[Field, ...]] = (
    Flag(
        name="ui_dump",
        description="also keep the screen's views as XML, with their texts and bounds",
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    looks = [Action(kind="screenshot", params={"name": NAME})]
    if inputs["ui_dump"]:
        looks.append(Action(kind="ui_dump", params={"name": NAME}))
    return Plan(actions=tuple(looks))
