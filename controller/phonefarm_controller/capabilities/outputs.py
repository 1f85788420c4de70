"""What a finished run hands to its caller: the outputs its capability names."""

import json
from collections.abc import Sequence
from typing import Any


def outputs_of(capability: str, done: Sequence[tuple[str, str]]) -> str:
    """Return the outputs as a JSON object, from (action kind, outputs JSON) in plan order."""
    steps = [(kind, json.loads(outputs)) for kind, outputs in done]
    match capability:
        case "keyword_warmup":
            return json.dumps({"keywords": _keywords(steps)})
        case "fyp_warmup":
            return json.dumps({"videos": _videos(steps)})
        case "maintenance":
            edits = [out for kind, out in steps if kind == "edit_profile_field"]
            profile = {str(out.get("field")): out.get("value") for out in edits}
            return json.dumps({"profile": profile})
        case "post_video":
            return json.dumps({"video": _last(steps, "fetch_asset"), "post": _post(steps)})
        case "profile_check":
            return json.dumps({"screens": _last(steps, "check_profile").get("screens", [])})
        case _:
            return "{}"


def _last(steps: Sequence[tuple[str, Any]], kind: str) -> dict[str, Any]:
    found = [out for step, out in steps if step == kind and isinstance(out, dict)]
    return found[-1] if found else {}


def _post(steps: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {"caption": _last(steps, "write_caption").get("text"), **_last(steps, "verify_posted")}


def _videos(steps: Sequence[tuple[str, Any]]) -> list[Any]:
    listed = [out.get("videos") for kind, out in steps if kind == "scroll_feed"]
    return [video for videos in listed if isinstance(videos, list) for video in videos]


def _keywords(steps: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    keywords: list[dict[str, Any]] = []
    for kind, out in steps:
        if kind == "search":
            keywords.append({**out, "watched": []})
        elif kind == "watch" and keywords:
            keywords[-1]["watched"].append(out)
    return keywords
