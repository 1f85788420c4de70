"""The queue: which waiting items may be claimed next, and which the clock makes due."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    TextClause,
    and_,
    bindparam,
    exists,
    null,
    or_,
    select,
    text,
    update,
)

from phonefarm_controller.model.items import HOLD, Candidate
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.states import ITEM_WAITING, ItemState
from phonefarm_controller.store import pauses
from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import accounts
from phonefarm_controller.store.schema.types import Instant, SafeText
from phonefarm_controller.store.schema.work import (
    ACCOUNT_HELD,
    CLAIMABLE,
    DEADLINE_GIVEN,
    DUE,
    GOLDEN_JOB,
    OPEN_PHONE_ONLY,
    READY,
    UNREADY,
    WAITING,
    leases,
    queue_items,
)

_i = queue_items.c
Condition = ColumnElement[bool] | TextClause
_ORDER = (_i.priority.desc(), _i.created_at, _i.ordinal, _i.item_id)

# Built once: building a statement and its cache key costs as much as running it.
_NOW = bindparam("now", type_=Instant())
_ANY_READY = Statement(
    select(_i.item_id).where(CLAIMABLE, READY).order_by(_i.want_phone_id).limit(1)
)
_ANY_UNPROMOTED = Statement(
    select(_i.item_id).where(CLAIMABLE, UNREADY, _i.ready_at <= _NOW).limit(1)
)
_CANDIDATE_NAMES = tuple(Candidate.__dataclass_fields__)
_CANDIDATE = select(*(queue_items.c[name] for name in _CANDIDATE_NAMES)).where(CLAIMABLE)
_CANDIDATES = Statement(_CANDIDATE.where(among(_i.item_id, "ids")))
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
        .order_by(*_ORDER)
        .limit(1)
        .correlate(accounts)
        .scalar_subquery()
    )
    return select(first).where(
        among(_OWNED.phone_id, "ids"),
        _OWNED.active.is_(True),
        _OWNED.condition == "ok",
        # Or it has moved here while its run elsewhere goes on.
        ~exists().where(leases.c.account_id == _OWNED.account_id, ACCOUNT_HELD),
        *of_accounts,
    )


_FIRST_BOUND = Statement(_bound())
_OPEN = (
    _CANDIDATE.where(
        READY,
        text("want_phone_id IS NULL"),
        _i.app == bindparam("app", type_=SafeText),
        _i.ready_at <= _NOW,
    )
    # The group is the same for all; PostgreSQL sees the index's order only when it is named.
    .order_by(_i.want_phone_group, *_ORDER)
    .limit(bindparam("most", type_=Integer()))
)
_OPEN_TO_ALL = _OPEN.where(_i.want_phone_group.is_(null()))
_OPEN_TO_GROUP = _OPEN.where(_i.want_phone_group == bindparam("group", type_=SafeText))
_FIRST_OPEN = Statement(_OPEN_TO_ALL)
_FIRST_OPEN_OF = Statement(_OPEN_TO_GROUP)
_UNPROMOTED = (
    _CANDIDATE.where(UNREADY, _i.ready_at <= _NOW)
    .order_by(*_ORDER)
    .limit(bindparam("most", type_=Integer()))
)
_PROMOTE = (
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


async def any_ready(tx: Transaction) -> bool:
    """Tell whether any promoted item could be claimed, if its phone were free."""
    return bool(await _ANY_READY.rows(tx))


async def any_unpromoted(tx: Transaction) -> bool:
    """Tell whether any item is due but not promoted yet."""
    return bool(await _ANY_UNPROMOTED.rows(tx, now=tx.now))


@dataclass(frozen=True, kw_only=True)
class _NotPaused:
    """Conditions on accounts and on items that leave out what pauses hold back."""

    accounts: Sequence[Condition]
    items: Sequence[Condition]


def _not_paused(pauses: Sequence[Pause]) -> _NotPaused:
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
    return _NotPaused(accounts=of_accounts, items=of_items)


async def first_bound(
    tx: Transaction, phone_ids: Sequence[str], *, pauses: Sequence[Pause] = ()
) -> list[Candidate]:
    """Return the next ready item of each account at the phones that can work now.

    Items that *pauses* hold back are left out; the caller checks for a pause of everything.
    """
    ids = list(phone_ids)
    if pauses:
        allowed = _not_paused(pauses)
        query = _bound(allowed.accounts, allowed.items)
        firsts = await _uncompiled(tx, query, now=tx.now, ids=ids)
    else:
        firsts = await _FIRST_BOUND.rows(tx, now=tx.now, ids=ids)
    found = [item_id for (item_id,) in firsts if item_id is not None]
    if not found:
        return []
    return values_of(Candidate, _CANDIDATE_NAMES, await _CANDIDATES.rows(tx, ids=found))


async def first_open(
    tx: Transaction,
    *,
    app: str,
    phone_group: str | None,
    limit: int,
    pauses: Sequence[Pause] = (),
) -> list[Candidate]:
    """Return the next *limit* ready items for any phone (of the group when given).

    Items that *pauses* hold back are left out.
    """
    parameters: dict[str, Any] = {"now": tx.now, "app": app, "most": limit}
    if phone_group is not None:
        parameters["group"] = phone_group
    if pauses:
        query = _OPEN_TO_ALL if phone_group is None else _OPEN_TO_GROUP
        query = query.where(*_not_paused(pauses).items)
        rows = await _uncompiled(tx, query, **parameters)
    else:
        statement = _FIRST_OPEN if phone_group is None else _FIRST_OPEN_OF
        rows = await statement.rows(tx, **parameters)
    return values_of(Candidate, _CANDIDATE_NAMES, rows)


async def _uncompiled(
    tx: Transaction, query: Select[Any], **parameters: Any
) -> list[tuple[Any, ...]]:
    """Run a query whose text differs from pause to pause."""
    return [tuple(row) for row in await tx.connection.execute(query, parameters)]


async def unpromoted(
    tx: Transaction, *, limit: int, pauses: Sequence[Pause] = ()
) -> list[Candidate]:
    """Return the next *limit* items that are due but not promoted yet."""
    query = _UNPROMOTED.where(*_not_paused(pauses).items) if pauses else _UNPROMOTED
    rows = await tx.connection.execute(query, {"now": tx.now, "most": limit})
    return [_candidate(row) for row in rows]


async def promote(tx: Transaction, *, limit: int) -> None:
    """Mark at most *limit* due items as ready; skip rows that another transaction has locked."""
    await tx.connection.execute(_PROMOTE, {"now": tx.now, "most": limit})


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
    """Return (process, item) of waiting items whose deadline has passed.

    What a pause holds back is among them only where its caller gave the deadline.
    """
    found = await _late(tx, DEADLINE_GIVEN, limit=limit)
    paused = await pauses.all_of(tx)
    if len(found) < limit and not any(pause.scope is PauseScope.ALL for pause in paused):
        own = and_(_i.deadline_given.is_(False), ~pauses.HELD_BACK)
        found += await _late(tx, own, limit=limit - len(found))
    return found


async def _late(tx: Transaction, which: Condition, *, limit: int) -> list[tuple[str, str]]:
    query = (
        select(_i.process_id, _i.item_id)
        .where(WAITING, which, _i.deadline_at < tx.now)
        .order_by(_i.deadline_at)
        .limit(limit)
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**row._asdict())


_PHONE_ONLY = select(
    _i.want_phone_id.label("phone_id"), _i.process_id, _i.item_id, _i.capability, _i.app
).where(OPEN_PHONE_ONLY, among(_i.want_phone_id, "ids"))
_OPEN_PHONE_ONLY = Statement(_PHONE_ONLY)
# A hold is never retried, so it has no back-off to wait for.
_CLAIMABLE_PHONE_ONLY = Statement(
    _PHONE_ONLY.where(CLAIMABLE, or_(_i.capability == HOLD, _i.ready_at <= _NOW))
)


@dataclass(frozen=True, kw_only=True)
class PhoneOnlyItem:
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


async def open_phone_only(
    tx: Transaction, phone_ids: Sequence[str], *, claimable: bool = False
) -> list[PhoneOnlyItem]:
    """Return the holds and golden jobs of the phones that have not ended; *claimable* ones only.

    They stand beside the queue's order, which is for work that acts for an account.
    """
    ids = list(phone_ids)
    rows = (
        await _CLAIMABLE_PHONE_ONLY.rows(tx, ids=ids, now=tx.now)
        if claimable
        else await _OPEN_PHONE_ONLY.rows(tx, ids=ids)
    )
    return values_of(PhoneOnlyItem, tuple(PhoneOnlyItem.__dataclass_fields__), rows)


async def golden_jobs_since(tx: Transaction, moment: datetime) -> dict[str, datetime]:
    """Return when the last golden job was made for each phone that had one since then."""
    query = select(_i.want_phone_id, _i.created_at).where(GOLDEN_JOB, _i.created_at > moment)
    last: dict[str, datetime] = {}
    for phone_id, created_at in await tx.connection.execute(query):
        last[phone_id] = max(created_at, last.get(phone_id, created_at))
    return last
