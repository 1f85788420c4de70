"""An action plan: what the executor does on the phone, in order, each with its limit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

DEFAULT_LIMIT_SECONDS: Final = 60.0
CAP_MARGIN_SECONDS: Final = 60.0
MOST_CAP_SECONDS: Final = 4 * 3600.0


class Repeat(StrEnum):
    """Whether a second run of an action is harmless."""

    SAFE = "safe"
    ONCE = "once"


@dataclass(frozen=True, kw_only=True)
class Action:
    """One step; kinds and params are listed in docs/seams.md."""

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    limit_seconds: float = DEFAULT_LIMIT_SECONDS
    repeat: Repeat = Repeat.SAFE


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that one item does; frozen on the item at enqueue."""

    actions: tuple[Action, ...]
    dummy: Mapping[str, Any] = field(default_factory=dict)
    component: str | None = None  # the one app that a plan without a profile starts and stops

    @property
    def cap_seconds(self) -> float:
        """Return how long a run of it may take at the most."""
        total = sum(action.limit_seconds for action in self.actions) + CAP_MARGIN_SECONDS
        return min(total, MOST_CAP_SECONDS)

    @property
    def once_actions(self) -> tuple[int, ...]:
        """Return the indices of the actions that must not be repeated."""
        return tuple(i for i, a in enumerate(self.actions) if a.repeat is Repeat.ONCE)

    def to_json(self) -> str:
        """Return the actions, the dummy's steering and the component as a JSON object."""
        actions = [
            {
                "index": index,
                "kind": action.kind,
                "params": dict(action.params),
                "limit_seconds": action.limit_seconds,
                "repeat": action.repeat,
            }
            for index, action in enumerate(self.actions)
        ]
        component = {} if self.component is None else {"component": self.component}
        return json.dumps({"actions": actions, "dummy": dict(self.dummy), **component})

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Return the plan that `to_json` wrote."""
        kept = json.loads(text)
        actions = tuple(
            Action(
                kind=action["kind"],
                params=action["params"],
                limit_seconds=action["limit_seconds"],
                repeat=Repeat(action["repeat"]),
            )
            for action in kept["actions"]
        )
        return cls(actions=actions, dummy=kept["dummy"], component=kept.get("component"))


def with_evidence(plan: Plan, name: str) -> Plan:
    """Return the plan that keeps a screenshot and a UI dump called *name* before it stops the app.

    A plan that stops no app keeps them at its end. Actions before them keep their indices.
    """
    looks = (
        Action(kind="screenshot", params={"name": name}),
        Action(kind="ui_dump", params={"name": name}),
    )
    stops = plan.actions[-1].kind == "stop_app"
    place = len(plan.actions) - stops
    return replace(plan, actions=(*plan.actions[:place], *looks, *plan.actions[place:]))
