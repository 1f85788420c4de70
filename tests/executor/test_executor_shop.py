"""Apps that nobody prepared: alternatives, dialogs, who is logged in, views on their way."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from phonefarm_executor.plan import read_plan
from support.run_bench import RunBench, plan_of, profile_content, run_bench, step

PAGE = Path(__file__).parents[2] / "docs" / "app-profiles.md"
SHOP = "com.example.shop"
CUSTOMER = "shopper-sim0001"


def shop_profile() -> dict[str, Any]:
    """Return the shop's profile as the page has it."""
    (toml,) = (
        block
        for block in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        if SHOP in block
    )
    return {**tomllib.loads(toml), "name": "shop", "version": "0" * 64}


def in_shop(account: str | None = CUSTOMER) -> Callable[[dict[str, Any]], None]:
    """Return the change that makes a plan one for the shop and an account."""

    def change(plan: dict[str, Any]) -> None:
        plan["profile"] = shop_profile()
        plan["account"] = {"account_id": account, "app": "shop"}

    return change


def as_account(name: str) -> Callable[[dict[str, Any]], None]:
    """Return the change that makes the short-video app say who is logged in."""

    def change(plan: dict[str, Any]) -> None:
        plan["profile"] |= {
            "format": 2,
            "account": {"screen": "profile", "name": "profile.username"},
        }
        plan["account"]["account_id"] = name

    return change


def dismissed(bench: RunBench) -> list[str]:
    """Return the dialogs that went, in order."""
    return [effect["dialog"] for effect in bench.effects("dialog_dismissed")]


@pytest.mark.parametrize("personality", ["pixel-15", "samsung"])
async def test_an_app_without_ids_is_driven_in_its_language(
    tmp_path: Path, personality: str
) -> None:
    """English or German: three dialogs go by themselves, a search is typed, products are seen."""
    async with (
        run_bench(tmp_path, personality=personality, package=SHOP) as bench,
        bench.run(
            step("launch_app"),
            step("search", keyword="boots"),
            *(step("watch", index=place, seconds=0.2) for place in range(3)),
            step("stop_app"),
            change=in_shop(),
        ) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
        assert dismissed(bench) == ["consent", "update", "rating"]
        assert [each["title"] for each in story.outputs()[2:5]] == [
            "Boots, classic",
            "Boots, light",
            "Boots, for two",
        ]


async def test_a_check_tells_which_alternatives_match(tmp_path: Path) -> None:
    """The one that was used, others that match, and those that match nothing."""
    async with (
        run_bench(tmp_path, personality="samsung", package=SHOP) as bench,
        bench.run(step("check_profile", limit=120.0), change=in_shop()) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
        (outputs,) = story.outputs()
        found = {one["selector"]: one for each in outputs["screens"] for one in each["selectors"]}
        shows = {each["screen"]: each["shows"] for each in outputs["screens"] if each.get("shows")}
        (used,) = (one for one in shows["account"]["alternatives"] if one["used"])
        assert used["wanted"] == "text Konto"
        assert [(one["found"], one["used"]) for one in found["nav.account"]["alternatives"]] == [
            (False, False),
            (True, True),
            (True, False),
        ]
        assert found["account.customer"]["text"] == CUSTOMER
        assert not shows["results"]["found"]


async def test_another_account_ends_the_run_before_its_work(tmp_path: Path) -> None:
    """It is the account's failure and final; nothing was typed or searched."""
    async with (
        run_bench(tmp_path, package=SHOP) as bench,
        bench.run(
            step("launch_app"), step("search", keyword="boots"), change=in_shop("shopper-2")
        ) as story,
    ):
        code, last = await story.ending()

        assert code == 1
        failure = last["failure"]
        assert (failure["code"], failure["class"], failure["final"]) == (
            "account_mismatch",
            "account",
            True,
        )
        assert "'shopper-sim0001' is logged in, not shopper-2" in failure["message"]
        assert bench.effects("typed") == bench.effects("searched") == []


async def test_the_right_account_is_asked_for_once(tmp_path: Path) -> None:
    """The check is no part of the action's time, and later actions do not repeat it."""
    async with (
        run_bench(tmp_path) as bench,
        bench.run(
            step("launch_app"),
            step("open_feed", limit=8.0),
            step("scroll_feed", videos=1, watch_seconds=0.1),
            change=as_account("sim0001"),
        ) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
        shown = [each["screen"] for each in bench.effects("screen_shown")]
        assert shown == ["profile", "feed"]
        assert [line["event"] for line in story.logged] == [
            "account_check_started",
            "account_checked",
        ]


async def test_an_own_edit_does_not_make_the_account_another(tmp_path: Path) -> None:
    """A second attempt finds the name that the first one has given."""
    edit = step("edit_profile_field", field="username", value="new.name")
    async with run_bench(tmp_path) as bench:
        bench.phone.set_account(username="new.name")
        async with bench.run(step("launch_app"), edit, change=as_account("sim0001")) as story:
            code, last = await story.ending()

        assert code == 0, last


@pytest.mark.parametrize(
    ("account", "names"),
    [
        ({"account_id": "cat", "app": "shop"}, {"cat"}),
        ({"account_id": None, "app": "shop"}, set()),
        (None, set()),
    ],
)
def test_a_plan_for_no_account_expects_nobody(
    tmp_path: Path, account: object, names: set[str]
) -> None:
    """Only an account's id is something to compare with."""
    plan = plan_of([], serial="s") | {"profile": shop_profile(), "account": account}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))

    assert read_plan(path).account_names == names


async def test_views_on_their_way_are_not_tapped(tmp_path: Path) -> None:
    """Each screen slides to its place for some looks: no tap goes where a view was before."""
    async with run_bench(tmp_path) as bench:
        await bench.phone.fault("screen_slides", count=3)
        async with bench.run(
            step("launch_app"),
            step("search", keyword="boots"),
            step("watch", index=1, seconds=0.2),
            step("edit_profile_field", field="bio", value="Hi"),
            scale=1.0,
        ) as story:
            code, last = await story.ending()

        assert code == 0, last
        tapped = [each["target"] for each in bench.effects("tapped")]
        assert tapped == [
            "nav_search",
            "search_box",
            "result_item",
            "nav_profile",
            "edit_profile_button",
            "edit_bio",
            "save_button",
        ]


async def test_a_profile_of_one_selector_each_still_works(tmp_path: Path) -> None:
    """Format 1 with nothing new in it."""
    assert profile_content()["format"] == 1
    async with (
        run_bench(tmp_path) as bench,
        bench.run(step("launch_app"), step("open_feed")) as story,
    ):
        code, last = await story.ending()

        assert code == 0, last
