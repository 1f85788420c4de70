"""keyword_warmup: search each keyword, watch the first results. It only looks."""

from phonefarm_controller.domain.inputs import Inputs
from phonefarm_controller.domain.plans import Action, Plan

MOST_WATCH_SECONDS = 3 * 3600
"""A longer plan could not end within a run's cap of four hours."""


def plan(inputs: Inputs) -> Plan:
    """Return the plan; FarmError names every wrong input."""
    keywords = inputs.texts("keywords", least=1, most=20, longest=100)
    videos = inputs.integer("videos_per_keyword", least=1, most=50, default=5)
    seconds = inputs.integer("watch_seconds", least=1, most=120, default=8)
    total = len(keywords) * videos * seconds
    if total > MOST_WATCH_SECONDS:
        inputs.problem(
            "watch_seconds",
            f"makes {total} s of watching in one run; at most {MOST_WATCH_SECONDS} s fit: "
            "ask for fewer keywords, videos or seconds",
        )
    dummy = inputs.anything("dummy") or {}
    inputs.finish()

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
    return Plan(actions=tuple(actions), dummy=dummy)
