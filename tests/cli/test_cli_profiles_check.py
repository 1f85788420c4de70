"""What a walk through a profile found, as it is told."""

import json
from typing import Any

import pytest
from phonefarm.v1 import process_pb2
from phonefarm_cli.commands.profiles_check import missing_lines, screen_rows, screens_of
from phonefarm_cli.console.profile_file import ProfileFile
from phonefarm_cli.errors import CommandError

PROFILE = ProfileFile(toml="", screens=frozenset({"feed", "results"}), tapped=frozenset({"feed"}))


def screen(name: str, *selectors: tuple[str, bool], reached: bool = True) -> dict[str, Any]:
    """Return one screen as `check_profile` tells it."""
    found = [
        {"selector": one, "found": there, "text": "Tiny", "bounds": [1, 2, 3, 4] if there else None}
        for one, there in selectors
    ]
    why = "" if reached else "it shows something else"
    return {"screen": name, "reached": reached, "why": why, "selectors": found}


def test_what_was_tried_and_not_found_is_named() -> None:
    """A screen that is not reached stands for its selectors; one of actions is no failure."""
    walk = [
        screen("feed", ("feed.title", True), ("feed.author", False)),
        screen("results", ("results.item", False), reached=False),
        screen("nav", ("nav.feed", False), reached=False),
    ]

    assert list(missing_lines(walk, PROFILE)) == [
        "  feed.author was not found on the screen feed",
        "  the screen nav was not reached: it shows something else",
    ]


def test_a_table_tells_each_selector_with_text_and_place() -> None:
    """And which screens were not tried."""
    walk = [
        screen("feed", ("feed.title", True), ("feed.author", False)),
        screen("results", ("results.item", False), reached=False),
    ]

    assert list(screen_rows(walk, PROFILE)) == [
        ["feed", "", "reached", "", "", ""],
        ["", "feed.title", "yes", "Tiny", "1,2,3,4", ""],
        ["", "feed.author", "NO", "Tiny", "", ""],
        ["results", "", "not checked", "it shows something else", "", ""],
    ]


def test_a_table_tells_which_alternative_was_used() -> None:
    """And which others match; one alone is not told."""
    walk = [screen("feed", ("feed.title", True))]
    by = [
        {"wanted": "resource-id title", "found": False, "used": False},
        {"wanted": "text Titel", "found": True, "used": True},
        {"wanted": "class TextView, index 0", "found": True, "used": False},
    ]
    walk[0]["selectors"][0]["alternatives"] = by
    walk[0]["shows"] = {"alternatives": by[1:2]}

    rows = list(screen_rows(walk, PROFILE))

    assert rows[0][-1] == ""
    assert rows[1][-1] == "2 of 3: text Titel; also 3"


def test_a_process_tells_its_walk_wherever_it_stands() -> None:
    """The result names items and actions around it."""
    result = {"items": {"i": {"outputs": [{}, {"screens": [screen("feed")]}]}}}

    found = screens_of(process_pb2.Process(result_json=json.dumps(result)))

    assert found == [screen("feed")]


@pytest.mark.parametrize("result", ["", "{}", '{"items": {"i": {"screens": 3}}}'])
def test_a_process_without_a_walk_proves_nothing(result: str) -> None:
    """It is said, and is no success."""
    with pytest.raises(CommandError, match="without a result"):
        screens_of(process_pb2.Process(result_json=result))
