"""Queue items: reading them under lock, moving them, finding the next to claim."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from phonefarm_common.reasons import FailureClass
from sqlalchemy import Integer, Row, bindparam, exists, func, null, or_, select

from phonefarm_controller.domain.failures import Failure
from phonefarm_controller.domain.items import Cancel, CancelStrategy, Item
from phonefarm_controller.domain.matching import Candidate
from phonefarm_controller.domain.processes import Tally
from phonefarm_controller.domain.records import ItemLine
from phonefarm_controller.domain.states import ITEM_CLAIMABLE, ITEM_WAITING, ItemState
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.tables import Instant, accounts, leases, phones, queue_items, runs
from phonefarm_controller.store.writes import any_of, insert_rows, update_if

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
_COLUMNS = [queue_items.c[name] for name in _FIXED + _CHANGING]
_TURN = (_i.priority.desc(), _i.created_at, _i.ordinal, _i.item_id)
# Spelled out, not IN (...) with parameters, so that the partial indexes are used.
_CLAIMABLE = or_(*(_i.state == _literal for _literal in sorted(ITEM_CLAIMABLE)))

# Built once: building a statement and its cache key costs as much as running it.
_NOW = bindparam("now", type_=Instant())
_LOCK = (
    select(*_COLUMNS).where(_i.item_id.in_(any_of("ids"))).order_by(_i.item_id).with_for_update()
)
_TALLY = (
    select(_i.process_id, _i.state, _i.executed, func.count().label("many"))
    .where(_i.process_id.in_(any_of("ids")))
    .group_by(_i.process_id, _i.state, _i.executed)
)
_LINES = select(
    _i.process_id,
    _i.item_id,
    _i.ordinal,
    _i.state,
    func.coalesce(_i.phone_id, _i.want_phone_id, _i.last_phone_id).label("phone_id"),
    func.coalesce(_i.account_id, _i.want_account_id).label("account_id"),
    _i.actions_done,
    _i.actions_total,
    _i.attempt,
    _i.failure,
    _i.outputs,
).where(_i.process_id.in_(any_of("ids")))
_PLANS = (
    select(_i.item_id, _i.plan, runs.c.snapshot)
    .outerjoin(runs, runs.c.run_id == _i.run_id)
    .where(_i.item_id.in_(any_of("ids")))
)
_ANY_CLAIMABLE = select(_i.item_id).where(_CLAIMABLE, _i.ready_at <= _NOW).limit(1)
_CANDIDATE = select(*(queue_items.c[name] for name in Candidate.__dataclass_fields__)).where(
    _CLAIMABLE
)
_CANDIDATES = _CANDIDATE.where(_i.item_id.in_(any_of("ids")))
# One walk down the index per phone, not one of the whole queue.
_FIRST_BOUND = select(
    select(_i.item_id)
    .join(accounts, accounts.c.account_id == _i.want_account_id)
    .where(
        _CLAIMABLE,
        _i.want_phone_id == phones.c.phone_id,
        _i.ready_at <= _NOW,
        accounts.c.active.is_(True),
        accounts.c.condition == "ok",
        accounts.c.phone_id == phones.c.phone_id,
        # An account may have been given another app since: its items wait, and hold nobody back.
        accounts.c.app == _i.app,
        # Or have moved here while its run elsewhere goes on.
        ~exists().where(leases.c.account_id == _i.want_account_id, leases.c.account_held),
    )
    .order_by(*_TURN)
    .limit(1)
    .correlate(phones)
    .scalar_subquery()
).where(phones.c.phone_id.in_(any_of("ids")))
_OPEN = (
    _CANDIDATE.where(_i.want_phone_id.is_(null()), _i.app == bindparam("app"), _i.ready_at <= _NOW)
    .order_by(*_TURN)
    .limit(bindparam("most", type_=Integer()))
)
_FIRST_OPEN = _OPEN.where(_i.want_phone_group.is_(null()))
_FIRST_OPEN_OF = _OPEN.where(_i.want_phone_group == bindparam("group"))


async def insert(tx: Transaction, items: Sequence[Item], plans: Mapping[str, str]) -> None:
    """Insert new items; *plans* maps item ids to their frozen plan."""
    rows = [_row(item, _FIXED + _CHANGING) | {"plan": plans[item.item_id]} for item in items]
    await insert_rows(tx, queue_items, rows)


async def lock(tx: Transaction, item_ids: Iterable[str]) -> dict[str, Item]:
    """Return the items by id, locked until the end, in the order of their ids."""
    rows = await tx.connection.execute(_LOCK, {"ids": list(set(item_ids))})
    return {row.item_id: _item(row) for row in rows}


async def get(tx: Transaction, item_ids: Iterable[str]) -> dict[str, Item]:
    """Return the items by id, as they are now."""
    query = select(*_COLUMNS).where(_i.item_id.in_(set(item_ids)))
    return {row.item_id: _item(row) for row in await tx.connection.execute(query)}


async def lock_of_processes(tx: Transaction, process_ids: Iterable[str]) -> dict[str, Item]:
    """Return every item of the processes by id, locked until the end, in the order of their ids."""
    query = (
        select(*_COLUMNS).where(_i.process_id.in_(set(process_ids))).order_by(_i.item_id)
    ).with_for_update()
    return {row.item_id: _item(row) for row in await tx.connection.execute(query)}


async def save(tx: Transaction, before: Mapping[str, Item], after: Sequence[Item]) -> None:
    """Write moved items, each only if its state and attempt are still those of *before*."""
    rows = [
        _row(item, _CHANGING)
        | {
            "was_item_id": item.item_id,
            "was_state": before[item.item_id].state,
            "was_attempt": before[item.item_id].attempt,
        }
        for item in sorted(after, key=lambda item: item.item_id)
    ]
    keys = ("item_id", "state", "attempt")
    await update_if(tx, queue_items, keys=keys, changes=_CHANGING, rows=rows)


async def processes_of(tx: Transaction, item_ids: Iterable[str]) -> dict[str, str]:
    """Map item ids to process ids; unknown items are missing."""
    query = select(_i.item_id, _i.process_id).where(_i.item_id.in_(set(item_ids)))
    return {row.item_id: row.process_id for row in await tx.connection.execute(query)}


async def tallies(tx: Transaction, process_ids: Iterable[str]) -> dict[str, list[Tally]]:
    """Count the items of each process by state."""
    counted: dict[str, list[Tally]] = defaultdict(list)
    for row in await tx.connection.execute(_TALLY, {"ids": list(set(process_ids))}):
        tally = Tally(state=ItemState(row.state), executed=bool(row.executed), count=row.many)
        counted[row.process_id].append(tally)
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
    """Return what records tell of the items of each process."""
    found: dict[str, list[ItemLine]] = defaultdict(list)
    for row in await tx.connection.execute(_LINES, {"ids": list(set(process_ids))}):
        found[row.process_id].append(
            ItemLine(
                item_id=row.item_id,
                ordinal=row.ordinal,
                state=ItemState(row.state),
                phone_id=row.phone_id,
                account_id=row.account_id,
                actions_done=row.actions_done,
                actions_total=row.actions_total,
                attempt=row.attempt,
                failure=_failure(row.failure),
                outputs=row.outputs,
            )
        )
    return found


async def plans(tx: Transaction, item_ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Return by item its frozen plan, and the snapshot of its present run (None without one)."""
    rows = await tx.connection.execute(_PLANS, {"ids": list(item_ids)})
    return {row.item_id: (row.plan, row.snapshot) for row in rows}


async def any_claimable(tx: Transaction) -> bool:
    """Tell whether any item could be claimed now, if its phone were there."""
    return (await tx.connection.execute(_ANY_CLAIMABLE, {"now": tx.now})).first() is not None


async def first_bound(tx: Transaction, phone_ids: Sequence[str]) -> list[Candidate]:
    """Return the next claimable item bound to each phone whose account can work now."""
    parameters = {"now": tx.now, "ids": list(phone_ids)}
    firsts = (await tx.connection.execute(_FIRST_BOUND, parameters)).scalars()
    found = [item_id for item_id in firsts if item_id is not None]
    if not found:
        return []
    rows = await tx.connection.execute(_CANDIDATES, {"ids": found})
    return [_candidate(row) for row in rows]


async def first_open(
    tx: Transaction, *, app: str, phone_group: str | None, limit: int
) -> list[Candidate]:
    """Return the next *limit* claimable items for any phone (of the group when given)."""
    parameters = {"now": tx.now, "app": app, "most": limit}
    if phone_group is None:
        rows = await tx.connection.execute(_FIRST_OPEN, parameters)
    else:
        rows = await tx.connection.execute(_FIRST_OPEN_OF, parameters | {"group": phone_group})
    return [_candidate(row) for row in rows]


async def waiting_for_accounts(
    tx: Transaction, account_ids: Iterable[str]
) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items that only one of these accounts can do."""
    query = select(_i.process_id, _i.item_id).where(
        _i.want_account_id.in_(set(account_ids)), _i.state.in_(sorted(ITEM_WAITING))
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def due_for_retry(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of items whose back-off is over."""
    query = (
        select(_i.process_id, _i.item_id)
        .where(_i.state == ItemState.RETRYABLE, _i.ready_at <= tx.now)
        .order_by(_i.ready_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def next_due(tx: Transaction) -> datetime | None:
    """Return when the next scheduled or retryable item becomes claimable; None when none waits."""
    states = or_(_i.state == ItemState.SCHEDULED, _i.state == ItemState.RETRYABLE)
    query = select(_i.ready_at).where(states, _i.ready_at > tx.now).order_by(_i.ready_at).limit(1)
    return (await tx.connection.execute(query)).scalar_one_or_none()


async def past_deadline(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items whose deadline has passed."""
    states = or_(*(_i.state == state for state in sorted(ITEM_WAITING)))
    query = (
        select(_i.process_id, _i.item_id)
        .where(states, _i.deadline_at < tx.now)
        .order_by(_i.deadline_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**row._asdict())


def _row(item: Item, names: Sequence[str]) -> dict[str, Any]:
    return {name: _stored(name, getattr(item, name)) for name in names}


def _stored(name: str, value: Any) -> Any:
    match name:
        case "once_actions" | "once_done":
            return json.dumps(value)
        case "failure":
            return None if value is None else failure_to_json(value)
        case "cancel":
            return None if value is None else _cancel_to_json(value)
        case _:
            return value


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


def _cancel_to_json(cancel: Cancel) -> str:
    return json.dumps(
        {
            "reason": cancel.reason,
            "strategy": str(cancel.strategy),
            "force_after_seconds": cancel.force_after_seconds,
        }
    )


def _cancel(text: str | None) -> Cancel | None:
    if text is None:
        return None
    value = json.loads(text)
    return Cancel(
        reason=value["reason"],
        strategy=CancelStrategy(value["strategy"]),
        force_after_seconds=value["force_after_seconds"],
    )


def _item(row: Row[Any]) -> Item:
    values = row._asdict()
    values["state"] = ItemState(values["state"])
    values["once_actions"] = tuple(json.loads(values["once_actions"]))
    values["once_done"] = tuple(json.loads(values["once_done"]))
    values["failure"] = _failure(values["failure"])
    values["cancel"] = _cancel(values["cancel"])
    return Item(**values)
