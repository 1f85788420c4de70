"""open_url: open a URL in the phone's default viewer, and keep a picture of it."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field, Integer
from phonefarm_controller.capabilities.phone_fields import PageUrl
from phonefarm_controller.model.plans import Action, Plan

NAME: Final = "page"
"""The beginning of the evidence file's name."""
VIEWER_SECONDS: Final = 90.0
"""The limit for starting the viewer, which may be slow after a boot."""

FIELDS: Final[tuple[Field, ...]] = (
    PageUrl(name="url", description="the URL to open", most=2000, required=True),
    Integer(
        name="seconds",
        description="number of seconds to let the page load before the run takes the picture",
        least=0,
        most=120,
        default=5,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    seconds = inputs["seconds"]
    actions = (
        Action(
            kind="open_url",
            params={"url": inputs["url"], "seconds": seconds},
            limit_seconds=VIEWER_SECONDS + seconds,
        ),
        Action(kind="screenshot", params={"name": NAME}),
    )
    return Plan(actions=actions)
