"""The UI server calls that a run may make. The proxy sends only calls that it has built itself.

Other methods of the server run any shell command, write files or inject touches (u2.jar 0.4.1,
AutomatorServiceImpl): none of them is here.
"""

import json
from typing import Any

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError

TEXT_LIMIT = 10_000
DEPTH_MOST = 80
QUALITIES = range(30, 91)
"""The allowed qualities of a JPEG of the screen."""
_FOCUSED, _PACKAGE = 0x020000, 0x080000
"""Bits of a selector's mask, which mark the fields that count (uiautomator2, _selector.py)."""


def rewritten(body: bytes, package: str) -> bytes:
    """Return the call to send in place of *body*; RequestRefusedError when the run may not make it.

    *package* is the run's app: the one view a call may name is that app's field with the cursor.
    """
    try:
        document = json.loads(body, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(f"UI server: the call is not JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RequestRefusedError("UI server: the request is not a single JSON-RPC call")
    method = document.get("method")
    params = _allowed(method, document.get("params"), package)
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(call).encode("ascii")


def _allowed(method: object, params: object, package: str) -> list[Any]:
    """Return the params to send; RequestRefusedError for a method or params not listed here."""
    field = {
        "mask": _FOCUSED | _PACKAGE,
        "childOrSibling": [],
        "childOrSiblingSelector": [],
        "focused": True,
        "packageName": package,
    }
    match method, params:
        case "dumpWindowHierarchy", [bool(compressed), int(depth), bool(only_active)]:
            if not isinstance(depth, bool) and 1 <= depth <= DEPTH_MOST:
                return [compressed, depth, only_active]
        case "getText", [selector] if selector == field:
            return [field]
        case "setText", [selector, str(text)] if selector == field and len(text) <= TEXT_LIMIT:
            return [field, text]
        case "setClipboard", [None, str(text)] if len(text) <= TEXT_LIMIT:
            return [None, text]
        case "takeScreenshot", [1, int(quality)] if quality in QUALITIES:
            return [1, quality]
        case "getClipboard" | "pasteClipboard", []:
            return []
        case _:
            pass
    raise RequestRefusedError(
        f"UI server: this call is not allowed, or its params are not: {str(method)[:100]}"
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
