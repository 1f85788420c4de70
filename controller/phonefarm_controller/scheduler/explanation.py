"""Why not yet: each waiting item against each phone it could use, summed up for people."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_controller.model.blockers import (
    FOR_WORK,
    PASSING,
    Hindrance,
    PhoneNow,
    Sight,
    Why,
    of_account,
    of_item,
    of_phone,
)
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.processes import Process, Tally
from phonefarm_controller.model.states import ITEM_ACTIVE, ITEM_TERMINAL, ITEM_WAITING
from phonefarm_controller.model.times import moment_of
from phonefarm_controller.scheduler.remedies import remedy

MOST_ITEMS: Final = 100
"""Explained one by one; the others are only counted."""
MOST_PHONES: Final = 20
"""Lines of phones told of one item."""

_FOR_ALL: Final = frozenset({Hindrance.PAUSED, Hindrance.STORAGE_FULL})
_AT_WORK: Final = frozenset({Hindrance.PHONE_BUSY, Hindrance.ACCOUNT_BUSY})

NOTHING_HINDERS: Final = "about to be claimed"


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """How many items, or phones of one item, a reason holds back; what would unblock them."""

    reason: Hindrance
    count: int
    remedy: str


@dataclass(frozen=True, kw_only=True)
class PhoneReason:
    """Why one item is not claimed on one phone."""

    phone_id: str
    reason: Hindrance
    detail: str


@dataclass(frozen=True, kw_only=True)
class ItemExplanation:
    """Why one item waits; without reasons it is about to be claimed."""

    queue_item_id: str
    status: str
    ready_at: datetime | None  # None: it could be claimed now, if a phone were there
    deadline_at: datetime
    items_ahead: int
    reasons: tuple[ReasonCount, ...]
    phones: tuple[PhoneReason, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a process is where it is, as of one moment."""

    process_id: str
    status: str
    summary: str
    reasons: tuple[ReasonCount, ...] = ()
    items: tuple[ItemExplanation, ...] = ()


def hindrances_of(
    item: Item, sight: Sight, *, chosen: Collection[str], ahead: int, now: datetime
) -> list[Why]:
    """Return what keeps the item waiting; nothing when it is among *chosen*.

    *chosen* are the items that the claim would take this moment, *ahead* how many go before this
    one. What work and turns bring with them is left out for an item that is paused or
    whose time has not come.
    """
    if item.item_id in chosen:
        return []
    usable = sight.usable(item)
    found = list(of_item(item, usable, pauses=sight.pauses, now=now))
    if sight.shortage:
        found.append(Why(hindrance=Hindrance.STORAGE_FULL, detail=sight.shortage))
    early = any(why.moment is not None or why.hindrance in _FOR_ALL for why in found)
    for phone in usable:
        here = [why for why in of_phone(phone) if not _is_for_work(why, item, phone)]
        here += () if item.by_hand or item.golden else of_account(item, phone, sight)
        passing = all(why.hindrance in _AT_WORK for why in here)
        # A phone that nothing keeps from this item goes to another one.
        if passing and (ahead or not here):
            here.append(Why(hindrance=Hindrance.BEHIND_OTHERS, phone_id=phone.phone_id))
        found += [why for why in here if not (early and why.hindrance in PASSING)]
    return found


def _is_for_work(why: Why, item: Item, phone: PhoneNow) -> bool:
    """Tell whether this keeps other work from the phone, and not the item."""
    if item.golden:
        return phone.proving and why.hindrance is Hindrance.PHONE_QUARANTINED
    return item.by_hand and why.hindrance in FOR_WORK


def explained(
    process: Process,
    tallies: Iterable[Tally],
    waiting: Sequence[Item],
    whys: Mapping[str, Sequence[Why]],
    *,
    ahead: Mapping[str, int],
    now: datetime,
) -> Explanation:
    """Return why the process is where it is while it has not ended; *whys* and *ahead* by item."""
    held: dict[Hindrance, list[Why]] = defaultdict(list)
    counts: dict[Hindrance, int] = defaultdict(int)
    for item in waiting:
        for kind, found in _by_kind(whys[item.item_id]).items():
            held[kind] += found
            counts[kind] += 1
    reasons = _counted(held, counts)
    return Explanation(
        process_id=process.process_id,
        status=str(process.status),
        summary=_summary(process, list(tallies), waiting, whys, reasons),
        reasons=reasons,
        items=tuple(
            _explained_item(item, whys[item.item_id], ahead=ahead.get(item.item_id, 0), now=now)
            for item in waiting[:MOST_ITEMS]
        ),
    )


def explained_end(process: Process, error: Mapping[str, Any] | None) -> Explanation:
    """Return that and why the process has ended; *error* is that of its record."""
    when = "" if process.finished_at is None else f" at {moment_of(process.finished_at)}"
    why = "" if error is None else f": {error['code']}: {error['message']}"
    status = str(process.status)
    summary = f"it ended {status}{when}{why}"
    return Explanation(process_id=process.process_id, status=status, summary=summary)


def _explained_item(
    item: Item, whys: Sequence[Why], *, ahead: int, now: datetime
) -> ItemExplanation:
    late = item.ready_at > now
    at_phones = [why for why in whys if why.phone_id]
    return ItemExplanation(
        queue_item_id=item.item_id,
        status=str(item.state),
        ready_at=item.ready_at if late else None,
        deadline_at=item.deadline_at,
        items_ahead=ahead,
        reasons=_counted(_by_kind(whys)),
        phones=tuple(
            PhoneReason(phone_id=why.phone_id, reason=why.hindrance, detail=why.detail)
            for why in at_phones[:MOST_PHONES]
        ),
    )


def _by_kind(whys: Iterable[Why]) -> dict[Hindrance, list[Why]]:
    kinds: dict[Hindrance, list[Why]] = defaultdict(list)
    for why in whys:
        kinds[why.hindrance].append(why)
    return kinds


def _counted(
    kinds: Mapping[Hindrance, Sequence[Why]], counts: Mapping[Hindrance, int] | None = None
) -> tuple[ReasonCount, ...]:
    """Return the reasons, those that hold back most first, else in the order of the vocabulary."""
    found = [
        ReasonCount(
            reason=kind,
            count=len(kinds[kind]) if counts is None else counts[kind],
            remedy=remedy(kinds[kind]),
        )
        for kind in Hindrance
        if kind in kinds
    ]
    return tuple(sorted(found, key=lambda each: -each.count))


def _summary(
    process: Process,
    tallies: Sequence[Tally],
    waiting: Sequence[Item],
    whys: Mapping[str, Sequence[Why]],
    reasons: Sequence[ReasonCount],
) -> str:
    active = sum(tally.count for tally in tallies if tally.state in ITEM_ACTIVE)
    over = sum(tally.count for tally in tallies if tally.state in ITEM_TERMINAL)
    others = f"{active} of them on a phone, {over} ended" if active or over else ""
    total = active + over + sum(t.count for t in tallies if t.state in ITEM_WAITING)
    if not waiting:
        word = "nothing waits" if process.cancel_requested_at is None else "it is being cancelled"
        return f"it runs: {_items(total)}, {others}; {word}"
    if not reasons:
        return NOTHING_HINDERS
    free = sum(not whys[item.item_id] for item in waiting)
    why = ", ".join(
        str(each.reason) if len(waiting) == 1 else f"{each.reason} ({each.count})"
        for each in reasons
    )
    parts = [f"{_items(len(waiting))} {'wait' if len(waiting) > 1 else 'waits'}: {why}"]
    if free:
        parts.append(f"{free} {NOTHING_HINDERS}")
    if others:
        parts.append(f"of {_items(total)} in all {active} on a phone, {over} ended")
    return "; ".join(parts)


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"
