"""run_steps: perform a script of steps, each of which is one action of the executor."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.capabilities.fields import Field, Integer, Problems, Text
from phonefarm_controller.capabilities.phone_fields import PageUrl
from phonefarm_controller.capabilities.planners.open_url import VIEWER_SECONDS
from phonefarm_controller.capabilities.step_fields import (
    Always,
    Choice,
    Component,
    FileName,
    Script,
    ScriptStep,
    ViewOrPoint,
    view,
)
from phonefarm_controller.model.errors import invalid
from phonefarm_controller.model.plans import DEFAULT_LIMIT_SECONDS, Action, Plan

MOST_STEPS: Final = 100
LONGEST_WAIT_SECONDS: Final = 60
"""With the limits below, the longest script stays below the 4 hours of a plan."""
LONGEST_TEXT: Final = 1000
KEYS: Final = (
    *("BACK", "HOME", "APP_SWITCH", "MENU", "SEARCH", "WAKEUP"),
    *("ENTER", "TAB", "SPACE", "ESCAPE", "DEL", "FORWARD_DEL"),
    *("DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT", "DPAD_CENTER"),
    *("MOVE_HOME", "MOVE_END", "PAGE_UP", "PAGE_DOWN"),
    *("VOLUME_UP", "VOLUME_DOWN", "VOLUME_MUTE"),
    *("MEDIA_PLAY_PAUSE", "MEDIA_STOP", "MEDIA_NEXT", "MEDIA_PREVIOUS"),
)
"""Names of AOSP's KeyEvent without KEYCODE_. The power key is the agent's alone."""
_STARTS_AND_STOPS: Final = frozenset({"launch_app", "stop_app"})
_KEEPS: Final = frozenset({"screenshot", "ui_dump"})

FIELDS: Final[tuple[Field, ...]] = (
    Script(
        name="steps",
        description=(
            "the steps, in the order in which the run performs them; each is an object with "
            "exactly one field"
        ),
        most=MOST_STEPS,
        required=True,
        kinds=(
            Always(name="launch_app", description="bring the app of `component` to the front"),
            Always(name="stop_app", description="end the app of `component`"),
            ViewOrPoint(name="tap", description="tap a view or a point"),
            view(
                "wait_for",
                "wait for a view, and return its text and bounds",
                Integer(
                    name="seconds",
                    description="number of seconds after which the step fails",
                    least=0,
                    most=LONGEST_WAIT_SECONDS,
                    default=10,
                ),
            ),
            Text(
                name="type_text",
                description="the text to type into the field that has the focus",
                most=LONGEST_TEXT,
                typed=True,
            ),
            Choice(name="press_key", description="the key to press", words=KEYS),
            Choice(
                name="swipe",
                description="the direction in which the finger swipes over the screen",
                words=("up", "down", "left", "right"),
            ),
            FileName(
                name="screenshot",
                description="how to name the picture of the screen, without a suffix",
                most=61,
            ),
            FileName(
                name="ui_dump",
                description="how to name the file with the screen's views, without a suffix",
                most=61,
            ),
            PageUrl(
                name="open_url",
                description="the URL to open in the phone's default viewer",
                most=2000,
            ),
            Integer(
                name="wait",
                description="number of seconds to wait",
                least=1,
                most=LONGEST_WAIT_SECONDS,
            ),
        ),
    ),
    Component(
        name="component",
        description=(
            "the one app that the run may start and stop, as PACKAGE/ACTIVITY, such as "
            "com.android.settings/.Settings"
        ),
        most=500,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan; FarmError for steps that do not fit the other inputs or each other."""
    steps: Sequence[ScriptStep] = inputs["steps"]
    problems = [*_without_app(steps, inputs["component"]), *_named_twice(steps)]
    if problems:
        raise invalid(*problems)
    return Plan(actions=tuple(map(_action, steps)), component=inputs["component"])


def _without_app(steps: Sequence[ScriptStep], component: str | None) -> Problems:
    message = "needs the input component, which says which app"
    return [
        FieldProblem(field=f"inputs.steps[{place}].{step.kind}", message=message)
        for place, step in enumerate(steps)
        if step.kind in _STARTS_AND_STOPS and component is None
    ]


def _named_twice(steps: Sequence[ScriptStep]) -> Problems:
    problems: Problems = []
    first: dict[tuple[str, str], int] = {}
    for place, step in enumerate(steps):
        if step.kind in _KEEPS and first.setdefault((step.kind, step.value), place) != place:
            message = f"must differ from that of step {first[step.kind, step.value]}"
            where = f"inputs.steps[{place}].{step.kind}"
            problems.append(FieldProblem(field=where, message=message))
    return problems


def _action(step: ScriptStep) -> Action:
    kind, value = step.kind, step.value
    match kind:
        case "tap" if "x" in value:
            return Action(kind=kind, params=value)
        case "tap":
            return Action(kind=kind, params={"view": value})
        case "wait_for":
            seconds = value["seconds"]
            named = {key: each for key, each in value.items() if key != "seconds"}
            return Action(
                kind=kind,
                params={"view": named, "seconds": seconds},
                limit_seconds=DEFAULT_LIMIT_SECONDS + seconds,
            )
        case "open_url":
            return Action(kind=kind, params={"url": value}, limit_seconds=VIEWER_SECONDS)
        case "wait":
            limit = DEFAULT_LIMIT_SECONDS + value
            return Action(kind=kind, params={"seconds": value}, limit_seconds=limit)
        case "launch_app" | "stop_app":
            return Action(kind=kind)
        case _:
            return Action(kind=kind, params={_PARAM[kind]: value})


_PARAM: Final = {
    "type_text": "text",
    "press_key": "key",
    "swipe": "direction",
    "screenshot": "name",
    "ui_dump": "name",
}
"""The one param of each action whose step is a plain value."""
