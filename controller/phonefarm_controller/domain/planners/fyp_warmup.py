"""fyp_warmup: open the feed and watch what comes. It only looks; the judge prompt is handed on."""

from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.domain.inputs import Inputs
from phonefarm_controller.domain.plans import Action, Plan


def plan(inputs: Inputs) -> Plan:
    """Return the plan; FarmError names every wrong input."""
    if inputs.anything("judge_prompt") in (None, ""):
        raise FarmError(
            Reason.MISSING_FYP_JUDGE_PROMPT,
            "fyp_warmup needs inputs.judge_prompt",
            problems=(FieldProblem(field="inputs.judge_prompt", message="is required"),),
        )
    prompt = inputs.text("judge_prompt", most=8000)
    videos = inputs.integer("max_videos", least=1, most=200, default=20)
    seconds = inputs.integer("watch_seconds", least=1, most=60, default=8)
    dummy = inputs.anything("dummy") or {}
    inputs.finish()

    scroll = Action(
        kind="scroll_feed",
        params={"videos": videos, "watch_seconds": seconds, "judge_prompt": prompt},
        limit_seconds=videos * (seconds + 5) + 30,
    )
    actions = (
        Action(kind="launch_app"),
        Action(kind="open_feed"),
        scroll,
        Action(kind="stop_app"),
    )
    return Plan(actions=actions, dummy=dummy)
