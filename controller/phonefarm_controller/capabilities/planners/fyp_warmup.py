"""fyp_warmup: open the feed and watch videos; the judge of the host skips those that do not fit.

It only looks.
"""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_common.reasons import Reason

from phonefarm_controller.capabilities.fields import Field, Integer, Text
from phonefarm_controller.model.plans import Action, Plan

FIELDS: Final[tuple[Field, ...]] = (
    Text(
        name="judge_prompt",
        description="what the videos should show; the run skips each video that the judge rejects",
        most=8000,
        required=True,
        missing_reason=Reason.MISSING_FYP_JUDGE_PROMPT,
    ),
    Integer(
        name="max_videos",
        description="number of videos to watch",
        least=1,
        most=200,
        default=20,
    ),
    Integer(
        name="watch_seconds",
        description="number of seconds to watch each video",
        least=1,
        most=60,
        default=8,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    videos, seconds = inputs["max_videos"], inputs["watch_seconds"]
    scroll = Action(
        kind="scroll_feed",
        params={
            "videos": videos,
            "watch_seconds": seconds,
            "judge_prompt": inputs["judge_prompt"],
        },
        limit_seconds=videos * (seconds + 5) + 30,
    )
    actions = (
        Action(kind="launch_app"),
        Action(kind="open_feed"),
        scroll,
        Action(kind="stop_app"),
    )
    return Plan(actions=actions)
