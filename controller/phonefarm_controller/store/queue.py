"""The queue: which waiting items may be claimed next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Any, assert_never

from sqlalchemy import (
    Float,
    Integer,
    Row,
    Select,
    bindparam,
    exists,
    func,
    null,
    or_,
    select,
    text,
    update,
)

from phonefarm_controller.model.items import HOLD, Candidate
from phonefarm_controller.model.plans import MOST_CAP_SECONDS
from phonefarm_controller.model.states import ITEM_WAITING
from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.held_back import (
    NOTHING_HELD_BACK,
    Allowed,
    Condition,
    HeldBack,
    conditions_of,
    short_of,
)
from phonefarm_controller.store.schema.fleet import accounts, phones
from phonefarm_controller.store.schema.types import Instant, SafeText
from phonefarm_controller.store.schema.work import (
    ACCOUNT_HELD,
    CLAIMABLE,
    GOLDEN_JOB,
    OPEN_PHONE_ONLY,
    READY,
    UNREADY,
    WITHOUT_APP,
    leases,
    queue_items,
)

_i = queue_items.c
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


_SHORT = _i.cap_seconds <= bindparam("seconds", type_=Float())
_OF_ACCOUNTS = among(_OWNED.account_id, "account_ids")


def _bound_to_phone(of_items: Sequence[Condition] = ()) -> Select[Any]:
    """Return the query for the first item of each phone that needs no app and no account."""
    first = (
        select(_i.item_id)
        .where(
            CLAIMABLE,
            READY,
            WITHOUT_APP,
            _i.want_phone_id == phones.c.phone_id,
            _i.ready_at <= _NOW,
            _SHORT,
            *of_items,
        )
        .order_by(*_ORDER)
        .limit(1)
        .correlate(phones)
        .scalar_subquery()
    )
    return select(first).select_from(phones).where(among(phones.c.phone_id, "ids"))


_ANY_WITHOUT_APP = Statement(
    select(_i.item_id).where(CLAIMABLE, READY, WITHOUT_APP).order_by(_i.want_phone_id).limit(1)
)
_OPEN = (
    _CANDIDATE.where(
        READY,
        text("want_phone_id IS NULL"),
        _i.app == bindparam("app", type_=SafeText),
        _i.ready_at <= _NOW,
        _SHORT,
    )
    # The group is the same for all; PostgreSQL sees the index's order only when it is named.
    .order_by(_i.want_phone_group, *_ORDER)
    .limit(bindparam("most", type_=Integer()))
)
_OPEN_TO_ALL = _OPEN.where(_i.want_phone_group.is_(null()))
_OPEN_TO_GROUP = _OPEN.where(_i.want_phone_group == bindparam("group", type_=SafeText))
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


async def any_without_app(tx: Transaction) -> bool:
    """Tell whether any promoted item that needs no app could be claimed, if a phone were free."""
    return bool(await _ANY_WITHOUT_APP.rows(tx))


async def first_bound(
    tx: Transaction,
    phone_ids: Sequence[str],
    *,
    account_ids: Sequence[str] | None = None,
    seconds: float = MOST_CAP_SECONDS,
    held_back: HeldBack = NOTHING_HELD_BACK,
) -> list[Candidate]:
    """Return the next ready item of each account at the phones that can work now.

    With *account_ids*, only the items of these accounts whose runs take at most so many *seconds*.
    What is held back is left out; the caller checks for a pause of everything.
    """
    given: dict[str, Any] = {"now": tx.now, "ids": list(phone_ids)}
    if account_ids is None:
        firsts = await _rows(tx, _Query.BOUND, held_back, given)
    else:
        given |= {"account_ids": list(account_ids), "seconds": seconds}
        firsts = await _rows(tx, _Query.SHORT_BOUND, held_back, given)
    return await _candidates(tx, firsts)


async def first_bound_without_app(
    tx: Transaction,
    phone_ids: Sequence[str],
    *,
    seconds: float = MOST_CAP_SECONDS,
    held_back: HeldBack = NOTHING_HELD_BACK,
) -> list[Candidate]:
    """Return the next ready item of each of these phones that needs no app and no account.

    What is held back is left out, and runs that may take more than so many *seconds*.
    """
    given: dict[str, Any] = {"now": tx.now, "ids": list(phone_ids), "seconds": seconds}
    return await _candidates(tx, await _rows(tx, _Query.BOUND_TO_PHONE, held_back, given))


async def _candidates(tx: Transaction, firsts: Sequence[tuple[Any, ...]]) -> list[Candidate]:
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
    seconds: float = MOST_CAP_SECONDS,
    held_back: HeldBack = NOTHING_HELD_BACK,
) -> list[Candidate]:
    """Return the next *limit* ready items for any phone (of the group when given).

    What is held back is left out, and runs that may take more than so many *seconds*.
    """
    given: dict[str, Any] = {"now": tx.now, "app": app, "most": limit, "seconds": seconds}
    query = _Query.OPEN
    if phone_group is not None:
        given["group"], query = phone_group, _Query.OPEN_TO_GROUP
    return values_of(Candidate, _CANDIDATE_NAMES, await _rows(tx, query, held_back, given))


class _Query(Enum):
    """The limits and conditions of a claim."""

    BOUND = auto()
    SHORT_BOUND = auto()
    BOUND_TO_PHONE = auto()
    OPEN = auto()
    OPEN_TO_GROUP = auto()


async def _rows(
    tx: Transaction, query: _Query, held_back: HeldBack, given: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Run the query without what is held back: as it is built, for its text differs with pauses."""
    given |= held_back.parameters
    if not held_back.pauses:
        return await _compiled(query, held_back.capabilities).rows(tx, **given)
    select_it = _select(query, conditions_of(held_back))
    return [tuple(row) for row in await tx.connection.execute(select_it, given)]


@lru_cache(maxsize=64)
def _compiled(query: _Query, capabilities: tuple[str, ...]) -> Statement:
    return Statement(_select(query, Allowed(accounts=(), items=short_of(capabilities))))


def _select(query: _Query, allowed: Allowed) -> Select[Any]:
    match query:
        case _Query.BOUND:
            return _bound(allowed.accounts, allowed.items)
        case _Query.SHORT_BOUND:
            return _bound([*allowed.accounts, _OF_ACCOUNTS], [*allowed.items, _SHORT])
        case _Query.BOUND_TO_PHONE:
            return _bound_to_phone(allowed.items)
        case _Query.OPEN:
            return _OPEN_TO_ALL.where(*allowed.items)
        case _Query.OPEN_TO_GROUP:
            return _OPEN_TO_GROUP.where(*allowed.items)
        case _:
            assert_never(query)


async def unpromoted(
    tx: Transaction, *, limit: int, held_back: HeldBack = NOTHING_HELD_BACK
) -> list[Candidate]:
    """Return the next *limit* items that are due, not promoted yet, and not held back."""
    query = _UNPROMOTED.where(*conditions_of(held_back).items)
    given = {"now": tx.now, "most": limit, **held_back.parameters}
    rows = await tx.connection.execute(query, given)
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


async def unfinished_of_account(tx: Transaction, account_id: str) -> int:
    """Count the items that have not ended and name the account, or use it now."""
    query = select(func.count()).where(
        _i.finished_at.is_(None),
        or_(_i.want_account_id == account_id, _i.account_id == account_id),
    )
    count: int = (await tx.connection.execute(query)).scalar_one()
    return count


async def waiting_for_phones(tx: Transaction, phone_ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return (process, item) of waiting items that only one of these phones can do."""
    query = select(_i.process_id, _i.item_id).where(
        _i.want_phone_id.in_(set(phone_ids)), _i.state.in_(sorted(ITEM_WAITING))
    )
    return [(row.process_id, row.item_id) for row in await tx.connection.execute(query)]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**row._asdict())


_PHONE_ONLY = select(
    _i.want_phone_id.label("phone_id"),
    _i.process_id,
    _i.item_id,
    _i.capability,
    _i.app,
    _i.cap_seconds,
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
    cap_seconds: float

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
