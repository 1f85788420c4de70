"""plan.json: the controller's part and what the agent adds to it (docs/seams.md)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phonefarm_agent.model.run import Assignment

DEFAULT_LIMIT_SECONDS = 60.0
PHONE_FOLDER = "/data/local/tmp/phonefarm"


class BadPlanError(Exception):
    """The controller's plan is not what docs/seams.md says."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan the agent can work with; `document` is the whole of plan.json."""

    document: Mapping[str, object]
    package: str
    phone_folder: str
    longest_limit: float
    actions: int


def phone_folder(run_id: str) -> str:
    """Return the run's own folder on the phone."""
    return f"{PHONE_FOLDER}/{run_id}"


def complete(assignment: Assignment, *, adb_serial: str) -> Plan:
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
    }
    document.setdefault("skip", [])
    profile = document.get("profile")
    package = profile.get("package", "") if isinstance(profile, dict) else ""
    limits = [_number(action.get("limit_seconds")) for action in actions]
    return Plan(
        document=document,
        package=package if isinstance(package, str) else "",
        phone_folder=phone_folder(ref.run_id),
        longest_limit=max(limits, default=DEFAULT_LIMIT_SECONDS),
        actions=len(actions),
    )


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if good else DEFAULT_LIMIT_SECONDS
