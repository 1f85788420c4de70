"""Scripts of steps without an app profile on a simulated phone, over the real proxy."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from phonefarm_controller.capabilities.planners import run_steps
from phonefarm_controller.capabilities.step_fields import Script, ScriptStep
from phonefarm_executor.actions.registry import bind
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.app_profile import NO_PROFILE, unknown_app
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import FailedError
from phonefarm_executor.plan import Step, read_plan
from phonefarm_executor.screen import Screen, read_screen
from phonefarm_executor.signals import Signals
from support.run_bench import plan_of, run_bench, step

PACKAGE = "com.example.shortvideo"
COMPONENT = f"{PACKAGE}/.MainActivity"
ID = f"{PACKAGE}:id/"
GIVEN: dict[str, Any] = {
    "launch_app": True,
    "stop_app": True,
    "tap": {"x": 1, "y": 2},
    "wait_for": {"id": "android:id/title", "index": 0, "seconds": 1},
    "type_text": "a",
    "press_key": "BACK",
    "swipe": "up",
    "screenshot": "a",
    "ui_dump": "a",
    "open_url": "https://example.com/",
    "wait": 1,
}


def of_app(plan: dict[str, Any]) -> None:
    """Make the plan a script's, for an app without a profile."""
    plan |= {"profile": None, "account": {"account_id": "", "app": ""}, "component": COMPONENT}


async def test_a_script_drives_an_app_that_has_no_profile(tmp_path: Path) -> None:
    """Start, find, tap, type, read, press, picture and stop: each by what the screen shows."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("tap", view={"id": f"{ID}nav_search"}),
            step("tap", view={"class": "android.widget.EditText", "id": f"{ID}search_box"}),
            step("type_text", text="night trains"),
            step("wait_for", view={"text_contains": "night"}, seconds=10),
            step("tap", view={"id": f"{ID}search_button"}),
            step("wait_for", view={"text": "Results"}, seconds=10),
            step("swipe", direction="up"),
            step("press_key", key="BACK"),
            step("wait", seconds=0.1),
            step("screenshot", name="end"),
            step("ui_dump", name="end"),
            step("stop_app"),
            change=of_app,
        ) as story,
    ):
        code, last = await story.ending()

        assert (code, last["outcome"], last["failure"]) == (0, "done", None)
        outputs = story.outputs()
        assert outputs[0] == {"foreground": COMPONENT}
        assert outputs[4]["text"] == "night trains"
        assert outputs[6]["text"] == "Results"
        assert outputs[10:] == [{"evidence": "end.png"}, {"evidence": "end.xml"}, {}]
        assert [each["query"] for each in bench.effects("searched")] == ["night trains"]
        assert len(bench.effects("app_started")) == len(bench.effects("app_stopped")) == 1


async def test_a_step_whose_view_is_nowhere_says_what_the_screen_shows(tmp_path: Path) -> None:
    """The message has the selector and the words of the screen; no profile is spoken of."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"), step("tap", view={"text": "No such"}), change=of_app
        ) as story,
    ):
        code, last = await story.ending()

        failure = last["failure"]
        assert (code, failure["code"], failure["class"]) == (1, "selector_not_found", "work")
        assert (
            f"the view (text No such) on the screen a screen of {PACKAGE} (" in failure["message"]
        )
        assert "For you" in failure["message"]


async def test_an_app_that_is_not_there_is_known_before_anything_is_done(tmp_path: Path) -> None:
    """By the package of the component."""
    async with run_bench(tmp_path) as bench:
        del bench.phone.phone.packages[PACKAGE]
        async with bench.run(step("launch_app"), change=of_app) as story:
            code, last = await story.ending()

        assert (code, last["failure"]["code"]) == (1, "app_not_installed")
        assert not [line for line in story.lines if line["type"] == "action_started"]


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (step("launch_app"), "only activities of com.example.other may be started"),
        (step("press_key", key="026"), "only the agent may press the power key"),
    ],
    ids=str,
)
async def test_a_script_starts_no_other_app_and_presses_no_power_key(
    tmp_path: Path, action: dict[str, Any], says: str
) -> None:
    """The proxy refuses both, whatever a plan says."""
    async with (
        run_bench(tmp_path, package="com.example.other") as bench,
        bench.run(action, change=of_app) as story,
    ):
        _, last = await story.ending()

        assert says in last["failure"]["message"]
        assert bench.effects("app_started") == []


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (step("launch_app"), "names none"),
        (step("stop_app"), "names none"),
        (step("open_feed"), "needs an app profile"),
        (step("tap", selector="search.box"), "has no selector search.box"),
        (step("tap", view={}), "must contain at least one of"),
        (step("tap", view={"index": 1}), "must contain at least one of"),
        (step("tap", view={"xpath": "//a"}), "unknown keys: xpath"),
        (step("tap", view="OK"), "must be a table"),
        (step("wait_for", view={"text": "x"}), "needs seconds"),
    ],
    ids=str,
)
def test_a_step_that_is_not_understood_is_refused_as_a_whole(
    action: dict[str, Any], says: str
) -> None:
    """When the plan is read, so that nothing of it is done."""
    planned = Step(
        index=0, kind=action["kind"], params=action["params"], limit_seconds=1, once=False
    )

    with pytest.raises(FailedError, match=says) as failed:
        bind(planned, NO_PROFILE)

    assert failed.value.code == "plan_invalid"


@pytest.mark.parametrize("component", ["com.example.app", "app/.Main", "com.a/.B;x", "", 5])
def test_a_component_that_is_none_is_refused(tmp_path: Path, component: object) -> None:
    """It goes into a command, so the executor looks too."""
    plan = plan_of([step("wait", seconds=0)], serial="nowhere")
    of_app(plan)
    plan["component"] = component
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    with pytest.raises(FailedError, match="component must be an activity") as failed:
        read_plan(tmp_path / "plan.json")

    assert failed.value.code == "plan_invalid"


def test_a_profile_has_its_own_component(tmp_path: Path) -> None:
    """A plan with both is none: which of them may be started would be a guess."""
    plan = plan_of([step("wait", seconds=0)], serial="nowhere") | {"component": COMPONENT}
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    with pytest.raises(FailedError, match="for a plan without a profile"):
        read_plan(tmp_path / "plan.json")


LAUNCHER = "com.example.launcher"
PERMISSIONS = "com.android.permissioncontroller"


class Screens:
    """A phone that shows its launcher, and another package once an activity was started."""

    waited_for_rest = True

    def __init__(self, then: str) -> None:
        self._shown, self._then = LAUNCHER, then

    def start(self, component: str) -> None:
        """Start an activity."""
        assert component == COMPONENT
        self._shown = self._then

    def foreground(self) -> str:
        """Return what is in front; a dialog of the system is no activity."""
        return f"{self._shown}/.Main" if self._shown else ""

    def look(self) -> Screen:
        """Return a screen with one view of what is in front."""
        bounds = 'bounds="[0,0][9,9]"'
        return read_screen(
            f'<hierarchy><node package="{self._shown}" {bounds}/></hierarchy>'.encode()
        )


@pytest.mark.parametrize(
    ("then", "is_launched"), [(PACKAGE, True), (PERMISSIONS, True), (LAUNCHER, False), ("", False)]
)
def test_an_app_without_a_profile_is_launched_once_its_start_shows(
    then: str, is_launched: bool
) -> None:
    """Also by a request for a permission that lies over it, but not by what was there before."""
    phone: Any = Screens(then)
    pace = Pace(Signals(), cap_seconds=60)
    reader: Any = phone
    text: Any = None
    drive = Drive(phone, unknown_app(COMPONENT), pace, reader=reader, text=text, time_scale=0.01)

    with nullcontext() if is_launched else pytest.raises(FailedError, match="did not appear"):
        drive.launch()


def test_every_step_of_a_script_is_an_action_that_needs_no_profile() -> None:
    """What the planner makes of each kind of step, the executor takes."""
    kinds = next(field.kinds for field in run_steps.FIELDS if isinstance(field, Script))
    steps = [ScriptStep(kind=kind, value=value) for kind, value in GIVEN.items()]

    plan = run_steps.plan({"steps": steps, "component": COMPONENT})

    assert {kind.name for kind in kinds} == GIVEN.keys()
    for index, action in enumerate(json.loads(plan.to_json())["actions"]):
        planned = Step(
            index=index, kind=action["kind"], params=action["params"], limit_seconds=1, once=False
        )
        bind(planned, unknown_app(plan.component))
