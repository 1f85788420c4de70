"""Builds plan.json from the controller's plan and what the agent adds (docs/seams.md)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP, CleanupStep

from phonefarm_agent.assets.types import AssetKind, WantedAsset
from phonefarm_agent.model.run import Assignment
from phonefarm_agent.phones.interface import RunResources

DEFAULT_LIMIT_SECONDS = 60.0
PHONE_FOLDER = "/data/local/tmp/phonefarm"
MEDIA_FOLDER = "/sdcard/Movies/phonefarm"
_TRACE = re.compile(r"[0-9a-f]{32}")
_ASSET = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class BadPlanError(Exception):
    """The controller's plan does not follow docs/seams.md."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A complete plan; `document` is the content of plan.json."""

    document: Mapping[str, object]
    resources: RunResources
    longest_limit: float
    actions: int
    wishes: Mapping[int, str]  # what videos are judged by, by action
    assets: Mapping[str, WantedAsset]  # what the run may ask for, by its name in the run
    clean_up: frozenset[CleanupStep] = EVERY_CLEANUP_STEP
    trace_id: str | None = None  # for the log


def phone_folder(run_id: str) -> str:
    """Return the run's own folder on the phone."""
    return f"{PHONE_FOLDER}/{run_id}"


def build_plan(assignment: Assignment, *, adb_serial: str) -> Plan:
    """Return the plan of *assignment* for the phone adb calls *adb_serial*; BadPlanError."""
    try:
        document = json.loads(assignment.plan_json)
    except (ValueError, RecursionError) as error:
        raise BadPlanError(f"plan_json is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadPlanError("plan_json is not an object")
    actions = document.get("actions")
    if not isinstance(actions, list) or not all(isinstance(action, dict) for action in actions):
        raise BadPlanError("plan_json has no list of actions")
    ref = assignment.ref
    pushes = any(action.get("kind") == "push_file" for action in actions)
    media_folder = f"{MEDIA_FOLDER}-{ref.run_id}" if pushes else ""
    document |= {
        "run_id": ref.run_id,
        "item_id": ref.item_id,
        "process_id": assignment.process_id,
        "attempt": ref.attempt,
        "epoch": ref.epoch,
        "serial": adb_serial,
        "capability": assignment.capability,
        "cap_seconds": assignment.cap_seconds,
        "phone_folder": phone_folder(ref.run_id),
        "media_folder": media_folder or None,
    }
    document.setdefault("skip", [])
    limits = [_number(action.get("limit_seconds")) for action in actions]
    return Plan(
        document=document,
        resources=RunResources(
            phone_folder=phone_folder(ref.run_id),
            media_folder=media_folder,
            package=_package(document.get("profile"), document.get("component")),
            urls=_urls(actions),
            installs=any(action.get("kind") == "install_apk" for action in actions),
        ),
        longest_limit=max(limits, default=DEFAULT_LIMIT_SECONDS),
        actions=len(actions),
        wishes=_wishes(actions),
        assets=_assets(actions),
        clean_up=_steps(document.pop("clean_up", None)),
        trace_id=_trace_id(document.pop("trace_id", None)),
    )


def _package(profile: Any, component: Any) -> str:
    """Return the package of the run's one app: of its profile, or of its component without one."""
    match profile, component:
        case {"package": str(package)}, _:
            return package
        case None, str(name):
            return name.partition("/")[0]
        case _:
            return ""


def _steps(wanted: Any) -> frozenset[CleanupStep]:
    """Return the known steps in *wanted*; without a list, all: too clean does no harm."""
    if not isinstance(wanted, list):
        return EVERY_CLEANUP_STEP
    return frozenset(step for step in CleanupStep if step in wanted)


def _trace_id(value: Any) -> str | None:
    return value if isinstance(value, str) and _TRACE.fullmatch(value) else None


def _wishes(actions: list[dict[str, Any]]) -> dict[int, str]:
    found = {}
    for index, action in enumerate(actions):
        match action:
            case {"params": {"judge_prompt": str(wish)}} if wish:
                found[index] = wish
            case _:
                pass
    return found


def _urls(actions: list[dict[str, Any]]) -> frozenset[str]:
    found = set()
    for action in actions:
        match action:
            case {"kind": "open_url", "params": {"url": str(url)}}:
                found.add(url)
            case _:
                pass
    return frozenset(found)


def _assets(actions: list[dict[str, Any]]) -> dict[str, WantedAsset]:
    found: dict[str, WantedAsset] = {}
    for action in actions:
        if action.get("kind") != "fetch_asset":
            continue
        params = action.get("params")
        given = params if isinstance(params, dict) else {}
        name, url, kind = given.get("asset"), given.get("url"), given.get("type")
        if not isinstance(name, str) or not _ASSET.fullmatch(name) or not isinstance(url, str):
            raise BadPlanError("fetch_asset needs `asset`, which is a short plain name, and `url`")
        if kind not in set(AssetKind):
            raise BadPlanError(f"fetch_asset {name}: type must be {' or '.join(AssetKind)}")
        wanted = WantedAsset(url=url, kind=AssetKind(kind))
        if found.setdefault(name, wanted) != wanted:
            raise BadPlanError(
                f"the plan has two fetch_asset actions for {name} with different params"
            )
    return found


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if good else DEFAULT_LIMIT_SECONDS
