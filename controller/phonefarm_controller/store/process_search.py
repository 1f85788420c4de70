"""Searching processes, newest first, a page at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.states import ProcessState
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.processes import COLUMNS, process_of
from phonefarm_controller.store.schema.work import capability_requests, queue_items

BYTES_PER_ITEM: Final = 500
"""The size of an item's line in a record, with its ids and its failure's message."""

_p = capability_requests.c
_q = queue_items.c


@dataclass(frozen=True, kw_only=True)
class PageEnd:
    """The end of a page; pages are ordered by created_at, newest first, then by process_id."""

    created_at: datetime
    process_id: str


@dataclass(frozen=True, kw_only=True)
class ProcessFilter:
    """The conditions on a process; an empty condition or None matches everything."""

    states: tuple[ProcessState, ...] = ()
    process_types: tuple[str, ...] = ()
    system: str = ""
    request_id: str = ""
    account_id: str = ""
    phone_id: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None
    process_id_prefix: str = ""


async def page(
    tx: Transaction, wanted: ProcessFilter, *, after: PageEnd | None, limit: int
) -> list[Process]:
    """Return at most *limit* processes after *after*, the newest first."""
    query = select(*COLUMNS).order_by(_p.created_at.desc(), _p.process_id).limit(limit)
    rows = await tx.connection.execute(_matching(query, wanted, after))
    return [process_of(row) for row in rows]


async def weights(tx: Transaction, process_ids: list[str]) -> dict[str, int]:
    """Return about how many bytes the items of each process take in its record."""
    size = func.count() * BYTES_PER_ITEM + func.coalesce(func.sum(func.length(_q.outputs)), 0)
    query = (
        select(_q.process_id, size).where(_q.process_id.in_(process_ids)).group_by(_q.process_id)
    )
    return {process_id: int(bytes_) for process_id, bytes_ in await tx.connection.execute(query)}


def _matching(
    query: Select[tuple[object, ...]], wanted: ProcessFilter, after: PageEnd | None
) -> Select[tuple[object, ...]]:
    if wanted.states:
        query = query.where(_p.state.in_(wanted.states))
    if wanted.process_types:
        query = query.where(_p.process_type.in_(wanted.process_types))
    if wanted.system:
        query = query.where(_p.system == wanted.system)
    if wanted.request_id:
        query = query.where(_p.request_id == wanted.request_id)
    if wanted.account_id:
        mine = wanted.account_id
        query = query.where(_has_item(or_(_q.want_account_id == mine, _q.account_id == mine)))
    if wanted.phone_id:
        here = (_q.want_phone_id, _q.phone_id, _q.last_phone_id)
        query = query.where(_has_item(or_(*(column == wanted.phone_id for column in here))))
    if wanted.process_id_prefix:
        query = query.where(_p.process_id.startswith(wanted.process_id_prefix))
    if wanted.created_from is not None:
        query = query.where(_p.created_at >= wanted.created_from)
    if wanted.created_before is not None:
        query = query.where(_p.created_at < wanted.created_before)
    if after is not None:
        older = _p.created_at < after.created_at
        same = and_(_p.created_at == after.created_at, _p.process_id > after.process_id)
        query = query.where(or_(older, same))
    return query


def _has_item(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(_q.item_id).where(_q.process_id == _p.process_id, condition).exists()
