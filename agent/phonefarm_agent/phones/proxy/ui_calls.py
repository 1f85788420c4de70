"""Which calls of the UI server a run may make: each is parsed, judged and written anew.

The server's other methods run any shell command, write files or inject touches (u2.jar 0.4.1,
AutomatorServiceImpl): none of them is here.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError

TEXT_LIMIT = 10_000
DEPTH_MOST = 80
_SELECTOR_BITS = MappingProxyType(
    {
        "text": 0x01,
        "className": 0x10,
        "description": 0x40,
        "focused": 0x020000,
        "packageName": 0x080000,
        "resourceId": 0x200000,
        "instance": 0x01000000,
    }
)
"""Fields a selector may have, each with its bit of `mask` (uiautomator2, _selector.py)."""


def rewritten(body: bytes, package: str) -> bytes:
    """Return the call to send in place of *body*; RequestRefusedError when the run may not make it.

    *package* is the run's app: a call that names views names only its own.
    """
    try:
        document = json.loads(body, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(f"UI server: the call is no JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RequestRefusedError("UI server: not one JSON-RPC call")
    method, params = document.get("method"), document.get("params", [])
    params = [] if params == {} else params
    judge = _CALLS.get(method) if isinstance(method, str) else None
    if judge is None:
        raise RequestRefusedError(f"UI server: method not allowed: {str(method)[:100]}")
    if not isinstance(params, list) or not judge(params, package):
        raise RequestRefusedError(f"UI server: {method} with params that are not allowed")
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(call).encode("ascii")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _nothing(params: list[Any], _package: str) -> bool:
    return not params


def _dump(params: list[Any], _package: str) -> bool:
    match params:
        case [bool(), int(depth), bool()]:
            return not isinstance(depth, bool) and 1 <= depth <= DEPTH_MOST
        case _:
            return False


def _screenshot(params: list[Any], _package: str) -> bool:
    match params:
        case [1, int(quality)]:
            return params[0] is not True and 30 <= quality <= 90
        case _:
            return False


def _of_view(params: list[Any], package: str) -> bool:
    return len(params) == 1 and _is_selector(params[0], package)


def _set_text(params: list[Any], package: str) -> bool:
    return len(params) == 2 and _is_selector(params[0], package) and _is_text(params[1])


def _set_clipboard(params: list[Any], _package: str) -> bool:
    return len(params) == 2 and params[0] is None and _is_text(params[1])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LIMIT


def _is_selector(value: Any, package: str) -> bool:
    """Tell whether it is a plain selector of views of the run's app."""
    if not isinstance(value, dict):
        return False
    rest = dict(value)
    mask = rest.pop("mask", None)
    if rest.pop("childOrSibling", []) != [] or rest.pop("childOrSiblingSelector", []) != []:
        return False
    if rest.get("packageName") != package or rest.keys() - _SELECTOR_BITS.keys():
        return False
    for name, field in rest.items():
        wanted = {"focused": bool, "instance": int}.get(name, str)
        if type(field) is not wanted or (isinstance(field, str) and not _is_text(field)):
            return False
    return type(mask) is int and mask == sum(_SELECTOR_BITS[name] for name in rest)


_CALLS: Mapping[str, Callable[[list[Any], str], bool]] = MappingProxyType(
    {
        "clearTextField": _of_view,
        "deviceInfo": _nothing,
        "dumpWindowHierarchy": _dump,
        "getClipboard": _nothing,
        "getConfigurator": _nothing,
        "getText": _of_view,
        "pasteClipboard": _nothing,
        "setClipboard": _set_clipboard,
        "setText": _set_text,
        "takeScreenshot": _screenshot,
    }
)
