"""Which plans and profiles the executor understands."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_controller.capabilities import fields
from phonefarm_controller.capabilities.planners import post_video
from phonefarm_executor.actions.registry import KINDS, UNTYPEABLE, bind, is_typeable
from phonefarm_executor.app_profile import read_profile
from phonefarm_executor.failures import NATURES, Code, FailedError
from phonefarm_executor.plan import Step, read_plan
from support.run_bench import plan_of, profile_content, step

SEAMS = Path(__file__).parents[2] / "docs" / "seams.md"


def test_every_kind_of_the_seam_is_known() -> None:
    """The executor performs exactly the kinds docs/seams.md names, each with the params there."""
    rows = re.findall(
        r"^\| (`[a-z_`, ]+`) \|([^|]*)\|[^|]*\| \**(safe|once)\** \|$",
        SEAMS.read_text(),
        re.MULTILINE,
    )
    told = {
        kind: set(re.findall(r"`([a-z0-9_]+)`", params))
        for kinds, params, _ in rows
        for kind in re.findall(r"`([a-z_]+)`", kinds)
    }

    assert told.keys() == KINDS.keys()
    for name, kind in KINDS.items():
        assert set(kind.parameters) <= told[name] | {"seconds"}, name


def test_the_planners_plan_is_understood() -> None:
    """What the controller plans for a post is what the executor performs."""
    inputs = {"video_url": "https://example.com/v.mp4", "caption": "Hi", "hashtags": ["#a", "b"]}
    actions = json.loads(post_video.plan(inputs).to_json())["actions"]
    profile = read_profile(profile_content())

    for action in actions:
        bind(
            Step(
                index=action["index"],
                kind=action["kind"],
                params=action["params"],
                limit_seconds=action["limit_seconds"],
                once=action["repeat"] == "once",
            ),
            profile,
        )

    assert [action["kind"] for action in actions if action["repeat"] == "once"] == ["confirm_post"]


def test_the_words_are_the_farms() -> None:
    """Codes, classes and what is untypeable are the farm's; copied, as nothing is imported."""
    assert {str(code) for code in Code} <= {str(code) for code in FailureCode}
    assert {nature.owner for nature in NATURES.values()} <= {str(owner) for owner in FailureClass}
    assert NATURES.keys() == set(Code)
    assert UNTYPEABLE == fields.UNTYPEABLE


def test_the_executor_stands_alone() -> None:
    """Nothing of ours is imported: the run container holds only the executor and adbutils."""
    script = "import sys, phonefarm_executor.main; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)

    ours = {name.partition(".")[0] for name in ran.stdout.split() if name.startswith("phonefarm")}
    assert ours == {"phonefarm_executor"}


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (step("search", keyword="Gr\x00"), "text_not_typeable"),
        (step("type_text", text="two\rlines"), "text_not_typeable"),
        (step("edit_profile_field", field="bio", value="\ud83d"), "text_not_typeable"),
        (step("dance"), "plan_invalid"),
        (step("search"), "plan_invalid"),
        (step("search", keyword="a", speed=1), "plan_invalid"),
        (step("search", keyword=5), "plan_invalid"),
        (step("watch", seconds="long"), "plan_invalid"),
        (step("watch", seconds=True), "plan_invalid"),
        (step("tap", selector="no.such"), "plan_invalid"),
        (step("swipe", direction="sideways"), "plan_invalid"),
        (step("press_key", key="BACK; reboot"), "plan_invalid"),
        (step("screenshot", name="../../x"), "plan_invalid"),
        (step("edit_profile_field", field="password", value="x"), "plan_invalid"),
        (step("launch_app", limit=-1), "plan_invalid"),
        (step("launch_app", repeat="often"), "plan_invalid"),
    ],
)
def test_an_action_that_cannot_be_done_is_refused(
    tmp_path: Path, action: dict[str, Any], code: str
) -> None:
    """Kinds, params, selectors and text are looked at before the first action."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_of([step("launch_app"), action], serial="nowhere")))

    with pytest.raises(FailedError) as caught:
        _understand(path)

    assert caught.value.code == code
    assert caught.value.as_json()["class"] == "work"
    assert caught.value.as_json()["final"] is True


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\U0001fae8", id="an emoji younger than this Python's tables"),
        pytest.param("\uf8ff", id="private use: a maker's own sign"),
        pytest.param("two\nlines", id="a line end"),
    ],
)
def test_what_a_field_can_hold_is_not_refused(text: str) -> None:
    """Whether a field takes it is for the phone to say; only what no dump can show is refused."""
    typeable = is_typeable(text)

    assert typeable


def _understand(path: Path) -> None:
    plan = read_plan(path)
    for one in plan.steps:
        bind(one, plan.profile)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_id", ""),
        ("serial", None),
        ("cap_seconds", 0),
        ("cap_seconds", "1"),
        ("skip", ["a"]),
        ("actions", {}),
        ("actions", [1]),
        ("actions", [{"index": 1, "kind": "launch_app", "limit_seconds": 1, "repeat": "safe"}]),
        ("profile", ""),
        ("profile", {}),
    ],
)
def test_a_plan_with_a_wrong_part_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    """The refusal is `plan_invalid`, whatever is wrong."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**plan_of([], serial="nowhere"), key: value}))

    with pytest.raises(FailedError) as caught:
        read_plan(path)

    assert caught.value.code == Code.PLAN_INVALID


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 3}, "format must be 1 or 2"),
        ({"package": ""}, "profile.package"),
        ({"activity": 5}, "profile.activity"),
        ({"selectors": {"nav": {"feed": {}}}}, "selectors.nav|nav.feed must contain"),
        ({"selectors": {"nav": {"feed": {"colour": "red"}}}}, "unknown keys: colour"),
        ({"selectors": {"nav": {"feed": {"id": 5}}}}, "nav.feed.id must be text"),
        ({"screens": {"feed": {"tap": "nav.feed"}}}, "screens.feed.shows must be a table"),
        (
            {"screens": {"feed": {"shows": {"id": "x"}, "tap": "no.such"}}},
            "is not the name of a selector",
        ),
        ({"screens": {"feed": {"shows": {"id": "x"}, "from": "profile"}}}, "requires a tap"),
        (
            {"screens": {"a": {"shows": {"id": "x"}, "from": "a", "tap": "nav.feed"}}},
            "does not lead back",
        ),
        (
            {
                "screens": {
                    "a": {"shows": {"id": "x"}, "from": "b", "tap": "nav.feed"},
                    "b": {"shows": {"id": "y"}},
                }
            },
            "no tap leads to b",
        ),
        ({"interrupts": {}}, "array of tables"),
        ({"interrupts": [{"name": "x", "shows": {"id": "x"}}]}, "one of dismiss, press and stop"),
        (
            {"interrupts": [{"name": "x", "shows": {"id": "x"}, "stop": "run_timeout"}]},
            "stop must be one of",
        ),
    ],
)
def test_a_profile_with_a_wrong_part_is_refused(change: dict[str, Any], says: str) -> None:
    """The message names the part."""
    with pytest.raises(FailedError, match=says) as caught:
        read_profile({**profile_content(), **change})

    assert caught.value.code == Code.PLAN_INVALID
