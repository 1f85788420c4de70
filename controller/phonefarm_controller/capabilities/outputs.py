"""Makes the outputs that a finished run returns to its caller."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Steps = Sequence[tuple[str, Any]]
"""The kind and the outputs of each action that was done, in the order of the plan."""


def outputs_of(capability: str, done: Sequence[tuple[str, str]]) -> str:
    """Return the outputs as a JSON object, from (action kind, outputs JSON) in plan order.

    It is empty for a capability that names none: a hold, a golden job.
    """
    named = OUTPUTS.get(capability)
    if named is None:
        return "{}"
    return json.dumps(named([(kind, json.loads(outputs)) for kind, outputs in done]))


def _last(steps: Steps, kind: str) -> dict[str, Any]:
    found = [out for step, out in steps if step == kind and isinstance(out, dict)]
    return found[-1] if found else {}


def _post(steps: Steps) -> dict[str, Any]:
    return {"caption": _last(steps, "write_caption").get("text"), **_last(steps, "verify_posted")}


def _profile(steps: Steps) -> dict[str, Any]:
    edits = [out for kind, out in steps if kind == "edit_profile_field"]
    return {str(out.get("field")): out.get("value") for out in edits}


def _videos(steps: Steps) -> list[Any]:
    listed = [out.get("videos") for kind, out in steps if kind == "scroll_feed"]
    return [video for videos in listed if isinstance(videos, list) for video in videos]


def _keywords(steps: Steps) -> list[dict[str, Any]]:
    keywords: list[dict[str, Any]] = []
    for kind, out in steps:
        if kind == "search":
            keywords.append({**out, "watched": []})
        elif kind == "watch" and keywords:
            keywords[-1]["watched"].append(out)
    return keywords


def _screenshot(steps: Steps) -> dict[str, Any]:
    kept = {"screenshot": _last(steps, "screenshot").get("evidence")}
    dumps = _last(steps, "ui_dump")
    return kept | ({"ui_dump": dumps.get("evidence")} if dumps else {})


def _done(steps: Steps) -> list[dict[str, Any]]:
    return [{"step": kind, **(out if isinstance(out, dict) else {})} for kind, out in steps]


OUTPUTS: Final[Mapping[str, Callable[[Steps], dict[str, Any]]]] = {
    "keyword_warmup": lambda steps: {"keywords": _keywords(steps)},
    "fyp_warmup": lambda steps: {"videos": _videos(steps)},
    "maintenance": lambda steps: {"profile": _profile(steps)},
    "post_video": lambda steps: {"video": _last(steps, "fetch_asset"), "post": _post(steps)},
    "take_screenshot": _screenshot,
    "open_url": lambda steps: {"page": _last(steps, "open_url") | _screenshot(steps)},
    "read_properties": lambda steps: _last(steps, "read_properties"),
    "install_apk": lambda steps: {"apk": _last(steps, "fetch_asset") | _last(steps, "install_apk")},
    "run_steps": lambda steps: {"steps": _done(steps)},
    "profile_check": lambda steps: {"screens": _last(steps, "check_profile").get("screens", [])},
}
"""For each capability, the function that makes its outputs; a test requires a row for each."""
