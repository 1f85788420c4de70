"""Queue items: reading them under lock, moving them, finding the next to claim."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_common.reasons import FailureClass
from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    TextClause,
    bindparam,
    exists,
    func,
    null,
    or_,
    select,
    text,
    update,
)

from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import HOLD, Cancel, CancelStrategy, Candidate, Item
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.processes import Tally
from phonefarm_controller.model.records import ItemLine
from phonefarm_controller.model.states import ITEM_WAITING, ItemState
from phonefarm_controller.store.bulk_writes import any_of, insert_columns, update_columns_if
from phonefarm_controller.store.compiled_statements import (
    Column,
    Statement,
    among,
    columns_of,
    values_of,
)
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import accounts
from phonefarm_controller.store.schema.types import Instant
from phonefarm_controller.store.schema.work import (
    CLAIMABLE,
    DUE,
    GOLDEN_JOB,
    OPEN_ALONE,
    READY,
    UNREADY,
    WAITING,
    leases,
    queue_items,
    runs,
)
from phonefarm_controller.store.transitions import note_items_made, note_items_moved

_i = queue_items.c
Condition = ColumnElement[bool] | TextClause
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


def _cancel_to_json(cancel: Cancel) -> str:
    return json.dumps(
        {
            "reason": cancel.reason,
            "strategy": str(cancel.strategy),
            "force_after_seconds": cancel.force_after_seconds,
            "give_back": cancel.give_back,
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
_TURN = (_i.priority.desc(), _i.created_at, _i.ordinal, _i.item_id)

# Built once: building a statement and its cache key costs as much as running it.
_NOW = bindparam("now", type_=Instant())
_LOCK = Statement(
    select(*_COLUMNS).where(among(_i.item_id, "ids")).order_by(_i.item_id).with_for_update(),
    reads=_READS,
)
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
        _i.attempt,
        _i.failure,
        _i.outputs,
    ).where(among(_i.process_id, "ids")),
    reads=_READS,
)
_LINE_NAMES = tuple(ItemLine.__dataclass_fields__)
_PLANS = Statement(
    select(_i.item_id, _i.plan, runs.c.snapshot)
    .outerjoin(runs, runs.c.run_id == _i.run_id)
    .where(among(_i.item_id, "ids"))
)
_ANY_READY = select(_i.item_id).where(CLAIMABLE, READY).order_by(_i.want_phone_id).limit(1)
_ANY_UNRIPE = select(_i.item_id).where(CLAIMABLE, UNREADY, _i.ready_at <= _NOW).limit(1)
_CANDIDATE = select(*(queue_items.c[name] for name in Candidate.__dataclass_fields__)).where(
    CLAIMABLE
)
_CANDIDATES = _CANDIDATE.where(_i.item_id.in_(any_of("ids")))
_OWNED = accounts.c


# One walk down the index per account, not one of the whole queue: it stops at the first.
def _bound(
    of_accounts: Sequence[Condition] = (), of_items: Sequence[Condition] = ()
) -> Select[Any]:
    first = (
        select(_i.item_id)
        .where(
            CLAIMABLE,
            READY,
            _i.want_phone_id == _OWNED.phone_id,
            _i.want_account_id == _OWNED.account_id,
            # An account may have another app since: its items wait, and hold nobody back.
            _i.app == _OWNED.app,
            _i.ready_at <= _NOW,
            *of_items,
        )
        .order_by(*_TURN)
        .limit(1)
        .correlate(accounts)
        .scalar_subquery()
    )
    return select(first).where(
        _OWNED.phone_id.in_(any_of("ids")),
        _OWNED.active.is_(True),
        _OWNED.condition == "ok",
        # Or it has moved here while its run elsewhere goes on.
        ~exists().where(leases.c.account_id == _OWNED.account_id, leases.c.account_held),
        *of_accounts,
    )


_FIRST_BOUND = _bound()
_OPEN = (
    _CANDIDATE.where(
        READY, text("want_phone_id IS NULL"), _i.app == bindparam("app"), _i.ready_at <= _NOW
    )
    # The group is the same for all; PostgreSQL sees the index's order only when it is named.
    .order_by(_i.want_phone_group, *_TURN)
    .limit(bindparam("most", type_=Integer()))
)
_FIRST_OPEN = _OPEN.where(_i.want_phone_group.is_(null()))
_FIRST_OPEN_OF = _OPEN.where(_i.want_phone_group == bindparam("group"))
_UNRIPE = (
    _CANDIDATE.where(UNREADY, _i.ready_at <= _NOW)
    .order_by(*_TURN)
    .limit(bindparam("most", type_=Integer()))
)
_RIPEN = (
    update(queue_items)
    .where(
        _i.item_id.in_(
            select(_i.item_id)
            .where(CLAIMABLE, UNREADY, _i.ready_at <= _NOW)
            .order_by(_i.ready_at)
            .limit(bindparam("most", type_=Integer()))
            .with_for_update(skip_locked=True)
        )
    )
    .values(ready=True)
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
    query = select(*_COLUMNS).where(_i.item_id.in_(set(item_ids)))
    return {row.item_id: _item(row) for row in await tx.connection.execute(query)}


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
    """Return what records tell of the items of each process."""
    found: dict[str, list[ItemLine]] = defaultdict(list)
    rows = await _LINES.rows(tx, ids=list(set(process_ids)))
    owners = (process_id for process_id, *_ in rows)
    lines_found = values_of(ItemLine, _LINE_NAMES, (line for _, *line in rows))
    for process_id, line in zip(owners, lines_found, strict=True):
        found[process_id].append(line)
    return found


async def plans(tx: Transaction, item_ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Return by item its frozen plan, and the snapshot of its present run (None without one)."""
    rows = await _PLANS.rows(tx, ids=list(item_ids))
    return {item_id: (plan, snapshot) for item_id, plan, snapshot in rows}


async def any_ready(tx: Transaction) -> bool:
    """Tell whether any item of the walk of the ready could be claimed, if its phone were there."""
    return (await tx.connection.execute(_ANY_READY)).first() is not None


async def any_unripe(tx: Transaction) -> bool:
    """Tell whether any item that is not in that walk has become due."""
    return (await tx.connection.execute(_ANY_UNRIPE, {"now": tx.now})).first() is not None


@dataclass(frozen=True, kw_only=True)
class _Passing:
    """The conditions that leave out what pauses hold back: of accounts, and of items."""

    accounts: Sequence[Condition]
    items: Sequence[Condition]


def _passing(pauses: Sequence[Pause]) -> _Passing:
    names = {
        scope: sorted(pause.name for pause in pauses if pause.scope is scope)
        for scope in PauseScope
    }
    of_accounts: list[Condition] = []
    of_items: list[Condition] = []
    if names[PauseScope.APP]:
        of_accounts.append(_OWNED.app.not_in(names[PauseScope.APP]))
        of_items.append(_i.app.not_in(names[PauseScope.APP]))
    if names[PauseScope.ACCOUNT]:
        of_accounts.append(_OWNED.account_id.not_in(names[PauseScope.ACCOUNT]))
        others = _i.want_account_id.not_in(names[PauseScope.ACCOUNT])
        of_items.append(or_(_i.want_account_id.is_(null()), others))
    if names[PauseScope.CAPABILITY]:
        of_items.append(_i.capability.not_in(names[PauseScope.CAPABILITY]))
    return _Passing(accounts=of_accounts, items=of_items)


async def first_bound(
    tx: Transaction, phone_ids: Sequence[str], *, pauses: Sequence[Pause] = ()
) -> list[Candidate]:
    """Return the next ready item of each account at the phones that can work now.

    What *pauses* hold back is passed over; a pause of everything is the caller's to keep.
    """
    parameters = {"now": tx.now, "ids": list(phone_ids)}
    query = _FIRST_BOUND
    if pauses:
        passing = _passing(pauses)
        query = _bound(passing.accounts, passing.items)
    firsts = (await tx.connection.execute(query, parameters)).scalars()
    found = [item_id for item_id in firsts if item_id is not None]
    if not found:
        return []
    rows = await tx.connection.execute(_CANDIDATES, {"ids": found})
    return [_candidate(row) for row in rows]


async def first_open(
    tx: Transaction,
    *,
    app: str,
    phone_group: str | None,
    limit: int,
    pauses: Sequence[Pause] = (),
) -> list[Candidate]:
    """Return the next *limit* ready items for any phone (of the group when given).

    What *pauses* hold back is passed over.
    """
    parameters: dict[str, Any] = {"now": tx.now, "app": app, "most": limit}
    query = _FIRST_OPEN if phone_group is None else _FIRST_OPEN_OF
    if pauses:
        query = query.where(*_passing(pauses).items)
    if phone_group is not None:
        parameters["group"] = phone_group
    rows = await tx.connection.execute(query, parameters)
    return [_candidate(row) for row in rows]


async def unripe(tx: Transaction, *, limit: int, pauses: Sequence[Pause] = ()) -> list[Candidate]:
    """Return the next *limit* items that have become due and are not in the walk of the ready."""
    query = _UNRIPE.where(*_passing(pauses).items) if pauses else _UNRIPE
    rows = await tx.connection.execute(query, {"now": tx.now, "most": limit})
    return [_candidate(row) for row in rows]


async def ripen(tx: Transaction, *, limit: int) -> None:
    """Take at most *limit* due items into that walk, but for those that others write just now."""
    await tx.connection.execute(_RIPEN, {"now": tx.now, "most": limit})


async def waiting_for_accounts(
    tx: Transaction, account_ids: Iterable[str]
) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items that only one of these accounts can do."""
    query = select(_i.process_id, _i.item_id).where(
        _i.want_account_id.in_(set(account_ids)), _i.state.in_(sorted(ITEM_WAITING))
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def waiting_for_phones(tx: Transaction, phone_ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items that only one of these phones can do."""
    query = select(_i.process_id, _i.item_id).where(
        _i.want_phone_id.in_(set(phone_ids)), _i.state.in_(sorted(ITEM_WAITING))
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def due_for_retry(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of items whose back-off is over."""
    query = (
        select(_i.process_id, _i.item_id)
        .where(DUE, _i.state == ItemState.RETRYABLE, _i.ready_at <= tx.now)
        .order_by(_i.ready_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


async def next_due(tx: Transaction) -> datetime | None:
    """Return when the next scheduled or retryable item becomes claimable; None when none waits."""
    query = select(_i.ready_at).where(DUE, _i.ready_at > tx.now).order_by(_i.ready_at).limit(1)
    return (await tx.connection.execute(query)).scalar_one_or_none()


async def past_deadline(tx: Transaction, *, limit: int) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items whose deadline has passed."""
    query = (
        select(_i.process_id, _i.item_id)
        .where(WAITING, _i.deadline_at < tx.now)
        .order_by(_i.deadline_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**row._asdict())


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


_OPEN_ALONE = select(
    _i.want_phone_id.label("phone_id"), _i.process_id, _i.item_id, _i.capability, _i.app
).where(OPEN_ALONE, _i.want_phone_id.in_(any_of("ids")))
# A hold is never tried again: whatever the clock says, nobody waits for it.
_CLAIMABLE_ALONE = _OPEN_ALONE.where(CLAIMABLE, or_(_i.capability == HOLD, _i.ready_at <= _NOW))


@dataclass(frozen=True, kw_only=True)
class Alone:
    """An item for one phone and no account: a hold or a golden job."""

    phone_id: str
    process_id: str
    item_id: str
    capability: str
    app: str

    @property
    def by_hand(self) -> bool:
        """Tell whether it is a hold."""
        return self.capability == HOLD


async def open_alone(
    tx: Transaction, phone_ids: Sequence[str], *, claimable: bool = False
) -> list[Alone]:
    """Return the holds and golden jobs of the phones that have not ended; *claimable* ones only.

    Beside the walk of the queue, which is for what acts for an account.
    """
    query = _CLAIMABLE_ALONE if claimable else _OPEN_ALONE
    parameters = {"ids": list(phone_ids)} | ({"now": tx.now} if claimable else {})
    return [Alone(**row._asdict()) for row in await tx.connection.execute(query, parameters)]


async def golden_jobs_since(tx: Transaction, moment: datetime) -> dict[str, datetime]:
    """Return when the last golden job was made for each phone that had one since then."""
    query = select(_i.want_phone_id, _i.created_at).where(GOLDEN_JOB, _i.created_at > moment)
    last: dict[str, datetime] = {}
    for phone_id, created_at in await tx.connection.execute(query):
        last[phone_id] = max(created_at, last.get(phone_id, created_at))
    return last
