"""The spans of a process that has ended, from what the database keeps of it (docs/adr/0040)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from phonefarm_common.tracing import Attributes, FinishedSpan, SpanEvent

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.states import ITEM_ACTIVE, ItemState, ProcessState
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.store.runs import EndedAction, Run

MOST_ITEMS: Final = 100
"""The farm sends spans of at most this many items of a process; collectors have limits."""

_WAITS: Final = {
    ItemState.QUEUED: "wait in queue",
    ItemState.SCHEDULED: "wait until due",
    ItemState.RETRYABLE: "wait for next attempt",
}
_PHASES: Final = {ItemState.CLAIMED: "prepare", ItemState.EXECUTING: "execute"}
_FAILED: Final = frozenset({ProcessState.DEAD_LETTER, ProcessState.PARTIAL})


@dataclass(frozen=True, kw_only=True)
class EndedProcess:
    """A process with everything from which its spans are made."""

    process: Process
    timeline: Sequence[Transition]
    items: Mapping[str, Item]
    """The items whose spans are sent, by id."""
    runs: Mapping[tuple[str, int], Run]
    """The runs by item and attempt."""
    actions: Mapping[str, Sequence[EndedAction]]
    """The ended actions of each run."""


def span_of(ended: EndedProcess) -> FinishedSpan:
    """Return the span of the process, with those of its items below it."""
    process = ended.process
    moves: dict[str, list[Transition]] = defaultdict(list)
    events = []
    for each in ended.timeline:
        if each.item_id is None:
            events.append(_event(each))
        else:
            moves[each.item_id].append(each)
    failed = process.state in _FAILED
    return FinishedSpan(
        name=f"process {process.process_type}",
        start=process.created_at,
        end=process.finished_at or process.created_at,
        attributes={
            "phonefarm.process_id": process.process_id,
            "phonefarm.capability": process.process_type,
            "phonefarm.system": process.system,
            "phonefarm.status": str(process.status),
            "phonefarm.items": len(moves),
        },
        events=tuple(events),
        error=str(process.status) if failed else None,
        children=tuple(
            _item(item, moves[item.item_id], ended)
            for item in sorted(ended.items.values(), key=lambda item: item.ordinal)
            if moves[item.item_id]
        ),
    )


def _event(move: Transition) -> SpanEvent:
    return SpanEvent(
        name=f"process {move.to_state}",
        at=move.at,
        attributes={"phonefarm.actor": move.actor, "phonefarm.reason": move.reason},
    )


def _item(item: Item, moves: Sequence[Transition], ended: EndedProcess) -> FinishedSpan:
    children: list[FinishedSpan] = []
    phases: list[tuple[Transition, Transition]] = []  # of the attempt under way
    for begun, over in pairwise(moves):
        if begun.to_state in _WAITS:
            children += _waits(item, begun, over)
            continue
        phases.append((begun, over))
        if over.to_state not in ITEM_ACTIVE:
            children.append(_run(phases, ended))
            phases = []
    failed = item.state is ItemState.DEAD_LETTER
    return FinishedSpan(
        name="item",
        start=moves[0].at,
        end=moves[-1].at,
        attributes={
            "phonefarm.item_id": item.item_id,
            "phonefarm.state": str(item.state),
            "phonefarm.attempts": item.attempt,
        },
        error=moves[-1].reason if failed else None,
        children=tuple(children),
    )


def _waits(item: Item, begun: Transition, over: Transition) -> list[FinishedSpan]:
    """Return the wait; one that went on in the queue when the item was due is two."""
    state = ItemState(begun.to_state)
    told: Attributes = {"phonefarm.reason": begun.reason, "phonefarm.ended_by": over.reason}
    due = item.ready_at
    if state is ItemState.SCHEDULED and begun.at < due < over.at:
        return [
            FinishedSpan(name=_WAITS[state], start=begun.at, end=due, attributes=told),
            FinishedSpan(name=_WAITS[ItemState.QUEUED], start=due, end=over.at, attributes=told),
        ]
    return [FinishedSpan(name=_WAITS[state], start=begun.at, end=over.at, attributes=told)]


def _run(phases: Sequence[tuple[Transition, Transition]], ended: EndedProcess) -> FinishedSpan:
    """Return an attempt: from its claim, with its phases and actions."""
    claimed, over = phases[0][0], phases[-1][1]
    told: dict[str, str | int | float | bool] = {"phonefarm.attempt": claimed.attempt}
    if claimed.phone_id is not None:
        told["phonefarm.phone_id"] = claimed.phone_id
    if claimed.account_id:
        told["phonefarm.account_id"] = claimed.account_id
    run = ended.runs.get((str(claimed.item_id), claimed.attempt))
    if run is not None:
        told |= {"phonefarm.run_id": run.run_id, "phonefarm.agent_id": run.agent_id}
        if run.outcome is not None:
            told["phonefarm.outcome"] = run.outcome
    actions = () if run is None else ended.actions.get(run.run_id, ())
    failed = over.to_state in {ItemState.DEAD_LETTER, ItemState.RETRYABLE}
    return FinishedSpan(
        name="run",
        start=claimed.at,
        end=over.at,
        attributes=told,
        events=(
            SpanEvent(
                name=f"item {over.to_state}",
                at=over.at,
                attributes={"phonefarm.actor": over.actor, "phonefarm.reason": over.reason},
            ),
        ),
        error=over.reason if failed else None,
        children=tuple(
            FinishedSpan(
                name=_PHASES[state],
                start=begun.at,
                end=end.at,
                children=_actions(actions, since=begun.at) if state is ItemState.EXECUTING else (),
            )
            for begun, end in phases
            if (state := ItemState(begun.to_state)) in _PHASES
        ),
    )


def _actions(actions: Sequence[EndedAction], *, since: datetime) -> tuple[FinishedSpan, ...]:
    """Return the actions, one after the other, with the durations that the executor measured.

    Each ends when its report was stored, or, after a lost connection, when the next one began.
    """
    spans: list[FinishedSpan] = []
    latest = None
    for action in reversed(actions):
        end = max(action.stored_at if latest is None else min(action.stored_at, latest), since)
        start = max(end - timedelta(seconds=action.seconds), since)
        latest = start
        spans.append(
            FinishedSpan(
                name=f"action {action.kind}",
                start=start,
                end=end,
                attributes={"phonefarm.action_index": action.index},
                error=action.code,
            )
        )
    return tuple(reversed(spans))
