"""The plan of a run, read from plan.json (docs/seams.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonefarm_executor.app_profile import Profile, read_profile, unknown_app
from phonefarm_executor.failures import Code, FailedError

MOST_ACTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action as planned."""

    index: int
    kind: str
    params: Mapping[str, Any]
    limit_seconds: float
    once: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run: its actions, its phone and its app."""

    run_id: str
    serial: str
    phone_folder: str
    media_folder: str  # where apps can read; "" for a run that pushes nothing
    cap_seconds: float
    skip: frozenset[int]
    profile: Profile  # app_profile.NO_PROFILE or unknown_app for a run without one
    account_names: frozenset[str]  # of whom may be logged in; empty: not known
    steps: tuple[Step, ...]


def read_plan(path: Path) -> Plan:
    """Return the plan in the file; `plan_invalid` names what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(f"plan.json cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise _invalid("plan.json must contain an object")
    actions = content.get("actions")
    if not isinstance(actions, list) or len(actions) > MOST_ACTIONS:
        raise _invalid(f"actions must be a list of at most {MOST_ACTIONS} actions")
    skip = content.get("skip", [])
    if not isinstance(skip, list) or not all(isinstance(index, int) for index in skip):
        raise _invalid("skip must be a list of indices")
    profile = _profile(content)
    steps = tuple(_step(place, action) for place, action in enumerate(actions))
    return Plan(
        run_id=_text(content, "run_id"),
        serial=_text(content, "serial"),
        phone_folder=_text(content, "phone_folder"),
        media_folder=_media_folder(content),
        cap_seconds=_seconds(content, "cap_seconds"),
        skip=frozenset(skip),
        profile=profile,
        account_names=_account_names(content.get("account"), profile, steps),
        steps=steps,
    )


def _profile(content: Mapping[str, Any]) -> Profile:
    if "profile" not in content:
        raise _invalid("profile is missing: it must be an object, or null for a run without one")
    component = content.get("component")
    if component is None:
        return read_profile(content["profile"])
    if content["profile"] is not None:
        raise _invalid("component is for a plan without a profile")
    return unknown_app(component)


def _account_names(account: Any, profile: Profile, steps: Sequence[Step]) -> frozenset[str]:
    """Return the account's name, and what this very plan makes of it: an earlier attempt may have.

    Empty when the plan is for no account.
    """
    match account:
        case {"name": str(name)} | {"account_id": str(name)} if name and profile.account:
            shown = profile.account.name.name
            edited = (
                step.params.get("value")
                for step in steps
                if step.kind == "edit_profile_field"
                and f"profile.{step.params.get('field')}" == shown
            )
            return frozenset({name, *(str(value).strip() for value in edited)})
        case _:
            return frozenset()


def _media_folder(content: Mapping[str, Any]) -> str:
    return _text(content, "media_folder") if content.get("media_folder") is not None else ""


def _step(place: int, action: Any) -> Step:
    if not isinstance(action, dict) or action.get("index") != place:
        raise _invalid(f"actions[{place}] must be an object with index {place}")
    params = action.get("params", {})
    if not isinstance(params, dict):
        raise _invalid(f"actions[{place}].params must be an object")
    repeat = action.get("repeat")
    if repeat not in {"safe", "once"}:
        raise _invalid(f"actions[{place}].repeat must be safe or once, not {repeat!r}")
    return Step(
        index=place,
        kind=_text(action, "kind"),
        params=params,
        limit_seconds=_seconds(action, "limit_seconds"),
        once=repeat == "once",
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise _invalid(f"{key} must be a string")
    return value


def _seconds(table: Mapping[str, Any], key: str) -> float:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise _invalid(f"{key} must be a number of seconds above 0")
    return float(value)


def _invalid(message: str) -> FailedError:
    return FailedError(Code.PLAN_INVALID, message)
