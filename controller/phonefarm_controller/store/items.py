"""Queue items: read them, lock them, write their moves."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_common.reasons import FailureClass
from sqlalchemy import (
    Row,
    func,
    select,
)

from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Cancellation, CancelStrategy, Item
from phonefarm_controller.model.processes import Tally
from phonefarm_controller.model.records import ItemLine
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.store.bulk_writes import insert_columns, update_columns_if
from phonefarm_controller.store.compiled_statements import (
    Column,
    Statement,
    among,
    columns_of,
    values_of,
)
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.work import (
    capability_requests,
    queue_items,
    runs,
)
from phonefarm_controller.store.transitions import note_items_made, note_items_moved

_i = queue_items.c
_CHANGING = (
    "state",
    "ready_at",
    "phone_id",
    "account_id",
    "attempt",
    "work_failures",
    "infra_failures",
    "executed",
    "run_id",
    "lease_id",
    "epoch",
    "once_started",
    "once_done",
    "actions_done",
    "last_phone_id",
    "failure",
    "outputs",
    "cancel",
    "finished_at",
)
_FIXED = (
    "item_id",
    "process_id",
    "ordinal",
    "capability",
    "app",
    "priority",
    "created_at",
    "deadline_at",
    "deadline_given",
    "want_phone_id",
    "want_account_id",
    "want_phone_group",
    "actions_total",
    "once_actions",
    "cap_seconds",
    "profile_version",
)


def failure_to_json(failure: Failure) -> str:
    """Return the failure as it is stored."""
    return json.dumps(
        {
            "code": failure.code,
            "message": failure.message,
            "class": str(failure.failure_class),
            "final": failure.final,
            "action": failure.action,
        }
    )


def _failure(text: str | None) -> Failure | None:
    if text is None:
        return None
    value = json.loads(text)
    return Failure(
        code=value["code"],
        message=value["message"],
        failure_class=FailureClass(value["class"]),
        final=value["final"],
        action=value["action"],
    )


def _cancel_to_json(cancel: Cancellation) -> str:
    return json.dumps(
        {
            "reason": cancel.reason,
            "strategy": str(cancel.strategy),
            "force_after_seconds": cancel.force_after_seconds,
            "give_back": cancel.give_back,
        }
    )


def _cancel(text: str | None) -> Cancellation | None:
    if text is None:
        return None
    value = json.loads(text)
    return Cancellation(
        reason=value["reason"],
        strategy=CancelStrategy(value["strategy"]),
        force_after_seconds=value["force_after_seconds"],
        give_back=value.get("give_back", False),
    )


def _indices(text: str) -> tuple[int, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _indices_to_json(indices: tuple[int, ...]) -> str:
    return json.dumps(indices) if indices else "[]"


_READS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state": {str(state): state for state in ItemState}.__getitem__,
    "once_actions": _indices,
    "once_done": _indices,
    "failure": _failure,
    "cancel": _cancel,
}
_STORES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "once_actions": _indices_to_json,
    "once_done": _indices_to_json,
    "failure": lambda failure: None if failure is None else failure_to_json(failure),
    "cancel": lambda cancel: None if cancel is None else _cancel_to_json(cancel),
}
_NAMES = _FIXED + _CHANGING
_COLUMNS = [queue_items.c[name] for name in _NAMES]

_LOCK = Statement(
    select(*_COLUMNS).where(among(_i.item_id, "ids")).order_by(_i.item_id).with_for_update(),
    reads=_READS,
)
_GET = Statement(select(*_COLUMNS).where(among(_i.item_id, "ids")), reads=_READS)
_TALLY = Statement(
    select(_i.process_id, _i.state, _i.executed, func.count().label("many"))
    .where(among(_i.process_id, "ids"))
    .group_by(_i.process_id, _i.state, _i.executed),
    reads=_READS,
)
_LINES = Statement(
    select(
        _i.process_id,
        _i.item_id,
        _i.ordinal,
        _i.state,
        func.coalesce(_i.phone_id, _i.want_phone_id, _i.last_phone_id).label("phone_id"),
        func.coalesce(_i.account_id, _i.want_account_id).label("account_id"),
        _i.actions_done,
        _i.actions_total,
        _i.deadline_at,
        _i.deadline_given,
        _i.attempt,
        _i.failure,
        _i.outputs,
    ).where(among(_i.process_id, "ids")),
    reads=_READS,
)
_LINE_NAMES = tuple(ItemLine.__dataclass_fields__)
_PLANS = Statement(
    select(_i.item_id, _i.plan, runs.c.snapshot, capability_requests.c.traceparent)
    .join(capability_requests, capability_requests.c.process_id == _i.process_id)
    .outerjoin(runs, runs.c.run_id == _i.run_id)
    .where(among(_i.item_id, "ids"))
)


async def insert(tx: Transaction, items: Sequence[Item], plans: Mapping[str, str]) -> None:
    """Insert new items; *plans* maps item ids to their frozen plan."""
    columns = _stored(items, _NAMES) | {"plan": [plans[item.item_id] for item in items]}
    columns["ready"] = _ready(tx, items)
    await insert_columns(tx, queue_items, columns)
    note_items_made(tx, items)


async def lock(tx: Transaction, item_ids: Iterable[str]) -> dict[str, Item]:
    """Return the items by id, locked until the end, in the order of their ids."""
    rows = await _LOCK.rows(tx, ids=list(set(item_ids)))
    return {item.item_id: item for item in values_of(Item, _NAMES, rows)}


async def get(tx: Transaction, item_ids: Iterable[str]) -> dict[str, Item]:
    """Return the items by id, as they are now."""
    rows = await _GET.rows(tx, ids=list(set(item_ids)))
    return {item.item_id: item for item in values_of(Item, _NAMES, rows)}


async def lock_of_processes(tx: Transaction, process_ids: Iterable[str]) -> dict[str, Item]:
    """Return every item of the processes by id, locked until the end, in the order of their ids."""
    query = (
        select(*_COLUMNS).where(_i.process_id.in_(set(process_ids))).order_by(_i.item_id)
    ).with_for_update()
    return {row.item_id: _item(row) for row in await tx.connection.execute(query)}


async def save(
    tx: Transaction,
    before: Mapping[str, Item],
    after: Sequence[Item],
    *,
    actors: Mapping[str, str] | None = None,
) -> None:
    """Write moved items, each only if its state and attempt are still those of *before*.

    *actors* maps item ids to who moves them, where that is not the transaction's actor.
    """
    if after:
        moved = sorted(after, key=lambda item: item.item_id)
        olds = [before[item.item_id] for item in moved]
        was = columns_of(olds, ("item_id", "state", "attempt"))
        columns = _stored(moved, _CHANGING) | {"ready": _ready(tx, moved)}
        await update_columns_if(tx, queue_items, was=was, columns=columns)
        note_items_moved(tx, before, moved, actors=actors)


async def processes_of(tx: Transaction, item_ids: Iterable[str]) -> dict[str, str]:
    """Map item ids to process ids; unknown items are missing."""
    query = select(_i.item_id, _i.process_id).where(_i.item_id.in_(set(item_ids)))
    return {row.item_id: row.process_id for row in await tx.connection.execute(query)}


async def tallies(tx: Transaction, process_ids: Iterable[str]) -> dict[str, list[Tally]]:
    """Count the items of each process by state."""
    counted: dict[str, list[Tally]] = defaultdict(list)
    for process_id, state, executed, many in await _TALLY.rows(tx, ids=list(set(process_ids))):
        counted[process_id].append(Tally(state=state, executed=executed, count=many))
    return counted


async def next_attempts(tx: Transaction, process_ids: Iterable[str]) -> dict[str, datetime]:
    """Return when the earliest waiting further attempt of each process is due."""
    query = (
        select(_i.process_id, func.min(_i.ready_at).label("due"))
        .where(
            _i.process_id.in_(set(process_ids)),
            _i.executed.is_(True),
            _i.state.in_((ItemState.RETRYABLE, ItemState.QUEUED, ItemState.CLAIMED)),
        )
        .group_by(_i.process_id)
    )
    return {row.process_id: row.due for row in await tx.connection.execute(query)}


async def lines(tx: Transaction, process_ids: Iterable[str]) -> dict[str, list[ItemLine]]:
    """Return the items of each process as records show them."""
    found: dict[str, list[ItemLine]] = defaultdict(list)
    rows = await _LINES.rows(tx, ids=list(set(process_ids)))
    owners = (process_id for process_id, *_ in rows)
    lines_found = values_of(ItemLine, _LINE_NAMES, (line for _, *line in rows))
    for process_id, line in zip(owners, lines_found, strict=True):
        found[process_id].append(line)
    return found


@dataclass(frozen=True, kw_only=True)
class PlanParts:
    """An item's frozen plan, its present run's snapshot, and the trace of its process."""

    plan: str  # JSON
    snapshot: str | None  # JSON
    traceparent: str | None


async def plans(tx: Transaction, item_ids: Iterable[str]) -> dict[str, PlanParts]:
    """Return by item what its plan is put together from."""
    rows = await _PLANS.rows(tx, ids=list(item_ids))
    return {
        item_id: PlanParts(plan=plan, snapshot=snapshot, traceparent=traceparent)
        for item_id, plan, snapshot, traceparent in rows
    }


def _ready(tx: Transaction, items: Sequence[Item]) -> Column:
    return [item.ready_at <= tx.now for item in items]


def _stored(items: Sequence[Item], names: Sequence[str]) -> dict[str, Column]:
    """Return columns of the items as they are stored."""
    columns = columns_of(items, names)
    for name, store in _STORES.items():
        if name in columns:
            columns[name] = [store(value) for value in columns[name]]
    return columns


def _item(row: Row[Any]) -> Item:
    values = row._asdict()
    for name, read in _READS.items():
        values[name] = read(values[name])
    return Item(**values)
