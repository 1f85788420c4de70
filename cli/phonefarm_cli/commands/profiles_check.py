"""What a run found on its walk through the screens of an app profile."""

import json
from collections.abc import Iterator
from typing import Any

from phonefarm.v1 import process_pb2

from phonefarm_cli.console.profile_file import ProfileFile
from phonefarm_cli.errors import CommandError

Walk = list[dict[str, Any]]
"""The screens as `check_profile` tells them; docs/seams.md has their shape."""


def walked(process: process_pb2.Process) -> Walk:
    """Return what the run's walk tells of each screen; CommandError when it tells nothing."""
    found = list(_walks(json.loads(process.result_json or "{}")))
    if not found:
        raise CommandError("the run ended without saying what it found; see its timeline")
    return found[0]


def _walks(value: Any) -> Iterator[Walk]:
    if isinstance(value, dict):
        if isinstance(value.get("screens"), list):
            yield value["screens"]
        for inner in value.values():
            yield from _walks(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walks(inner)


def missing(screens: Walk, profile: ProfileFile) -> Iterator[str]:
    """Yield a line for everything that was tried and not found."""
    for screen in screens:
        if _is_skipped(screen, profile):
            continue
        if not screen["reached"]:
            yield f"  the screen {screen['screen']} was not reached: {screen['why']}"
            continue
        for selector in screen["selectors"]:
            if not selector["found"]:
                yield f"  {selector['selector']} was not found on the screen {screen['screen']}"


def _is_skipped(screen: dict[str, Any], profile: ProfileFile) -> bool:
    """Tell whether only an action leads to the screen, which the walk does not take."""
    return screen["screen"] in profile.screens and screen["screen"] not in profile.tapped


def walk_rows(screens: Walk, profile: ProfileFile) -> Iterator[list[str]]:
    """Yield the rows of a table: screen, selector, found, text, place."""
    for screen in screens:
        if _is_skipped(screen, profile):
            yield [screen["screen"], "", "not tried", screen["why"], ""]
            continue
        yield [screen["screen"], "", "reached" if screen["reached"] else "NO", screen["why"], ""]
        for selector in screen["selectors"]:
            bounds = selector.get("bounds") or []
            yield [
                "",
                selector["selector"],
                "yes" if selector["found"] else "NO",
                selector.get("text", ""),
                ",".join(map(str, bounds)),
            ]
