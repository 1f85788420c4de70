"""A queue item in detail: its plan action by action, and every attempt."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.states import RunState


@dataclass(frozen=True, kw_only=True)
class ActionDetails:
    """One planned action, and how far the latest attempt came with it."""

    index: int
    kind: str
    limit_seconds: float
    repeat: str
    status: str  # waiting, running, done or failed


@dataclass(frozen=True, kw_only=True)
class AttemptDetails:
    """One attempt."""

    attempt: int
    run_id: str
    phone_id: str
    account_id: str
    agent_id: str
    state: RunState
    outcome: str | None
    container: str | None
    claimed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ItemDetails:
    """An item with everything that is known about it."""

    item: Item
    process_type: str
    actions: tuple[ActionDetails, ...]
    attempts: tuple[AttemptDetails, ...]


def action_details(
    item: Item, plan: str, results: Iterable[tuple[str, str]], *, under_way: bool
) -> tuple[ActionDetails, ...]:
    """Return the plan's actions as the run's reports, (kind, body) in order, leave them.

    *under_way*: the run goes on, so what has begun and not ended is running, not failed.
    """
    # Done by an earlier attempt, and not repeated.
    status = dict.fromkeys(item.once_done, "done")
    for kind, body in results:
        index = json.loads(body).get("index")
        match kind:
            case "action_started":
                status[index] = "running" if under_way else "failed"
            case "action_done":
                status[index] = "done"
            case "action_failed":
                status[index] = "failed"
            case _:
                pass
    return tuple(
        ActionDetails(
            index=action["index"],
            kind=action["kind"],
            limit_seconds=float(action["limit_seconds"]),
            repeat=action["repeat"],
            status=status.get(action["index"], "waiting"),
        )
        for action in json.loads(plan)["actions"]
    )
