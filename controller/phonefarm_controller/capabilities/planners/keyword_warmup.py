"""keyword_warmup: search each keyword, watch the first results. It only looks."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field, Integer, TextList
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.plans import Action, Plan

MOST_WATCH_SECONDS: Final = 3 * 3600
"""A longer plan could not end within a run's cap of four hours."""

FIELDS: Final[tuple[Field, ...]] = (
    TextList(
        name="keywords",
        description="the keywords to search for, one after the other",
        most=20,
        longest=100,
        typed=True,
        required=True,
    ),
    Integer(
        name="videos_per_keyword",
        description="number of results to watch for each keyword",
        least=1,
        most=50,
        default=5,
    ),
    Integer(
        name="watch_seconds",
        description=(
            "number of seconds to watch each video; keywords x videos x seconds must be at most "
            f"{MOST_WATCH_SECONDS}"
        ),
        least=1,
        most=120,
        default=8,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan; FarmError when it would be too long for one run."""
    keywords, seconds = inputs["keywords"], inputs["watch_seconds"]
    videos = inputs["videos_per_keyword"]
    total = len(keywords) * videos * seconds
    if total > MOST_WATCH_SECONDS:
        raise invalid_field(
            "inputs.watch_seconds",
            (
                f"makes one run watch for {total} s, but the limit is {MOST_WATCH_SECONDS} s: "
                "send fewer keywords, or smaller numbers of videos or seconds"
            ),
        )
    actions = [Action(kind="launch_app")]
    for keyword in keywords:
        actions.append(Action(kind="search", params={"keyword": keyword}))
        actions.extend(
            Action(
                kind="watch",
                params={"index": index, "seconds": seconds},
                limit_seconds=seconds + 30,
            )
            for index in range(videos)
        )
    actions.append(Action(kind="stop_app"))
    return Plan(actions=tuple(actions))
