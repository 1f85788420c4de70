"""docs/app-profiles.md, read by the same code as a run's profile."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from phonefarm_controller.model.app_profiles import read_profile as keep_profile
from phonefarm_executor.actions.registry import KINDS, bind
from phonefarm_executor.app_profile import STOPS, Profile, read_profile
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.plan import Step
from phonefarm_executor.screen import Alternative
from support.run_bench import PROFILE

PAGE = (Path(__file__).parents[2] / "docs" / "app-profiles.md").read_text()

POSTING: dict[str, dict[str, Any]] = {
    "share_video": {"asset": "video"},
    "write_caption": {"text": "words"},
    "confirm_post": {},
    "verify_posted": {"caption": "words"},
}


def example() -> str:
    """Return the page's profile as it stands there."""
    match = re.search(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[1]


def perform(kind: str, profile: Profile) -> None:
    """Bind one posting action to a profile, as a run does before its first action."""
    step = Step(index=0, kind=kind, params=POSTING[kind], limit_seconds=1.0, once=False)
    bind(step, profile)


def needs() -> dict[str, tuple[set[str], set[str]]]:
    """Return the screens and selectors that the page's table names for each action."""
    table = PAGE.partition("## What the actions need")[2].partition("\n## ")[0]
    found = {}
    for name, screens, selectors in re.findall(
        r"^\| `(\w+)` \| ([^|]*) \|([^|]*)\|$", table, re.MULTILINE
    ):
        found[name] = (
            set(re.findall(r"`(\w+)`", screens)) - {"tap", "index", "share_activity"},
            set(re.findall(r"`(\w+\.\w+)`", selectors)),
        )
    return found


def test_the_pages_example_is_a_profile_for_every_action() -> None:
    """Controller and executor read it; it has each screen and selector the page's table names."""
    kept = keep_profile("clips", example())
    profile = read_profile(json.loads(kept.json))

    for kind in POSTING:
        perform(kind, profile)
    for action, (screens, selectors) in needs().items():
        assert action in KINDS
        for screen in screens:
            profile.place(screen)
        for selector in selectors:
            if "FIELD" not in selector:
                profile.selector(selector)
    assert len(needs()) == 9


def test_the_packaged_profile_has_all_the_page_asks_for() -> None:
    """The simulator's app can be driven through every action."""
    profile = read_profile({**tomllib.loads(PROFILE.read_text()), "name": "shortvideo"})

    for screens, selectors in needs().values():
        for screen in screens:
            profile.place(screen)
        for selector in selectors:
            if "FIELD" not in selector:
                profile.selector(selector)


def test_the_page_names_every_key_and_every_stop() -> None:
    """What a selector can give, and how an interrupt can end a run."""
    given = set(re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE))
    named = {name for cell in given for name in re.findall(r"`(\w+)`", cell)}
    keys = {"id", "class", *Alternative.__dataclass_fields__} - {
        "resource_id",
        "kind",
    }

    assert keys <= named
    assert all(f"`{stop}`" in PAGE for stop in STOPS)


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ('share_activity = ".ShareActivity"', "share_video"),
        ('post = { id = "profile_video" }', "verify_posted"),
        ('caption = { id = "caption_box" }', "write_caption"),
        ('posted = { description_contains = "posted" }', "confirm_post"),
    ],
)
def test_what_the_page_asks_for_is_asked_for(line: str, lacking: str) -> None:
    """Without the line the action is refused before anything is done."""
    text = example()
    assert line in text
    profile = read_profile({**tomllib.loads(text.replace(line, "")), "name": "clips"})

    with pytest.raises(FailedError) as failed:
        perform(lacking, profile)

    assert failed.value.code is Code.PLAN_INVALID
