"""Transitions: the timeline of each process and of its items.

Only the functions that insert and save items and processes note them, so no path can forget it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.times import micros
from phonefarm_controller.model.transitions import ACCEPTED, CANCEL_REQUESTED, Transition
from phonefarm_controller.store.compiled_statements import Statement, among
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.pending_transitions import PendingTransition
from phonefarm_controller.store.schema.work import capability_requests, transitions

LONGEST_REASON: Final = 500
"""Reasons are cut to this many characters, because callers and agents write some of them."""
SYNCED: Final = "synced"
"""The reason when the consistency check corrects a process although no item has changed."""


def note_made(
    tx: Transaction, processes: Iterable[Process], *, actors: Mapping[str, str] | None = None
) -> None:
    """Note new processes; *actors* maps ids to who asked, where that is not the transaction's."""
    told = actors or {}
    for process in processes:
        actor = told.get(process.process_id, tx.actor)
        _note(tx, process.process_id, None, str(process.state), actor=actor, reason=ACCEPTED)


def note_of(tx: Transaction, process: Process, *, reason: str) -> None:
    """Note something about a process that moves nothing."""
    state = str(process.state)
    _note(tx, process.process_id, state, state, actor=tx.actor, reason=reason)


def note_items_made(tx: Transaction, items: Iterable[Item]) -> None:
    """Note new items, made by whom their processes were."""
    makers = {row.process_id: row.actor for row in tx.noted if row.item_id is None}
    for item in items:
        _note_item(tx, item, None, actor=makers.get(item.process_id, tx.actor))


def note_items_moved(
    tx: Transaction,
    before: Mapping[str, Item],
    after: Iterable[Item],
    *,
    actors: Mapping[str, str] | None = None,
) -> None:
    """Note the items whose state changed; *actors* as for processes, by item id."""
    told = actors or {}
    for item in after:
        old = before[item.item_id]
        if item.state is not old.state:
            _note_item(tx, item, old, actor=told.get(item.item_id, tx.actor))


def note_moved(tx: Transaction, before: Mapping[str, Process], after: Iterable[Process]) -> None:
    """Note the processes that moved, with actor and reason of the last of their items that did.

    A wish to cancel that moved nothing yet is noted too.
    """
    causes = {row.process_id: row for row in tx.noted if row.item_id is not None}
    for process in after:
        old, cause = before[process.process_id], causes.get(process.process_id)
        if process.state is not old.state:
            actor = tx.actor if cause is None else cause.actor
            reason = SYNCED if cause is None else cause.reason
        elif process.cancel_requested_at is not None and old.cancel_requested_at is None:
            actor, reason = tx.actor, CANCEL_REQUESTED
        else:
            continue
        _note(
            tx, process.process_id, str(old.state), str(process.state), actor=actor, reason=reason
        )


def _note_item(tx: Transaction, item: Item, old: Item | None, *, actor: str) -> None:
    """Note the item with the phone and account it is about: those of the attempt, else wanted."""
    was_phone, was_account = (old.phone_id, old.account_id) if old else (None, None)
    tx.noted.append(
        PendingTransition(
            process_id=item.process_id,
            item_id=item.item_id,
            at=micros(tx.now) or 0,
            from_state=str(old.state) if old else None,
            to_state=str(item.state),
            actor=actor,
            reason=_kept(item.because),
            attempt=item.attempt,
            phone_id=item.phone_id or was_phone or item.want_phone_id,
            account_id=item.account_id or was_account or item.want_account_id,
        )
    )


def _note(
    tx: Transaction,
    process_id: str,
    from_state: str | None,
    to_state: str,
    *,
    actor: str,
    reason: str,
) -> None:
    tx.noted.append(
        PendingTransition(
            process_id=process_id,
            item_id=None,
            at=micros(tx.now) or 0,
            from_state=from_state,
            to_state=to_state,
            actor=actor,
            reason=_kept(reason),
            attempt=0,
            phone_id=None,
            account_id=None,
        )
    )


def _kept(reason: str) -> str:
    """Return what every engine can hold of the reason."""
    return reason[:LONGEST_REASON].replace("\0", "\ufffd")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The position in a timeline: the number of its newest transition, 0 without any."""

    number: int
    ended: bool


_t = transitions.c
_NAMES = tuple(Transition.__dataclass_fields__)
_COLUMNS = [transitions.c[name] for name in _NAMES]
_p = capability_requests.c
# A look into the index per process, however long its timeline is.
_HEADS = Statement(
    select(
        _p.process_id,
        _p.finished_at,
        select(func.max(_t.number))
        .where(_t.process_id == _p.process_id)
        .correlate(capability_requests)
        .scalar_subquery(),
    ).where(among(_p.process_id, "ids"))
)


async def heads(tx: Transaction, process_ids: Iterable[str]) -> dict[str, Head]:
    """Return how far each process has come; unknown ones are missing."""
    return {
        process_id: Head(number=number or 0, ended=finished_at is not None)
        for process_id, finished_at, number in await _HEADS.rows(tx, ids=list(process_ids))
    }


async def following(
    tx: Transaction, process_id: str, *, after: int, limit: int
) -> list[Transition]:
    """Return at most *limit* transitions of the process behind number *after*, oldest first."""
    query = (
        select(*_COLUMNS)
        .where(_t.process_id == process_id, _t.number > after)
        .order_by(_t.number)
        .limit(limit)
    )
    return [Transition(**row._asdict()) for row in await tx.connection.execute(query)]


async def newest(tx: Transaction, process_id: str, *, limit: int) -> list[Transition]:
    """Return the newest *limit* transitions of the process, oldest first."""
    query = (
        select(*_COLUMNS).where(_t.process_id == process_id).order_by(_t.number.desc()).limit(limit)
    )
    found = [Transition(**row._asdict()) for row in await tx.connection.execute(query)]
    return found[::-1]
