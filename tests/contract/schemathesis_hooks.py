"""What schemathesis cannot guess: an account, a capability and addresses that this farm has.

Only values that are right by the schema are replaced, so a body that is wrong stays so.
"""

import os
from typing import Any

import schemathesis
from gateway.support.published import check_schema
from phonefarm_gateway.rest.openapi_capabilities import INPUTS

GOOD: dict[str, tuple[int, str]] = {
    "account_id": (128, "sim-0001"),
    "url": (2048, os.environ.get("FARM_HOOK", "")),
    "callback_url": (2048, os.environ.get("FARM_HOOK", "")),
    "video_path": (2048, os.environ.get("FARM_VIDEO", "")),
    "cover_image_path": (2048, os.environ.get("FARM_VIDEO", "")),
}
"""The longest value that is right, and ours."""


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Return *body* with what this farm knows."""
    return _known(body) if isinstance(body, dict) else body


def _known(value: dict[str, Any]) -> dict[str, Any]:
    known = dict(value)
    for name, given in value.items():
        if isinstance(given, dict) and name in {"target", "callback"}:
            known[name] = _known(given)
        elif name in GOOD and isinstance(given, str) and 1 <= len(given) <= GOOD[name][0]:
            known[name] = GOOD[name][1]
        elif name == "inputs" and _fits(given, value.get("capability")):
            known |= {
                "capability": "keyword_warmup",
                "inputs": {"keywords": ["tea"], "videos_per_keyword": 1},
            }
        elif name == "mode" and given == "unattended":
            known[name] = "manual"
    return known


def _fits(inputs: Any, capability: Any) -> bool:
    """Tell whether these are inputs of the capability, by the published schema."""
    if not isinstance(capability, str) or capability not in INPUTS:
        return False
    try:
        check_schema(INPUTS[capability], inputs)
    except AssertionError:
        return False
    return True
