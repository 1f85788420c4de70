"""The explanation: the blockers of each waiting item at each phone, summed up for people."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_controller.model.blockers import (
    FOR_WORK,
    TRANSIENT,
    Blocker,
    BlockerKind,
    FarmSnapshot,
    PhoneNow,
    blockers_of_account,
    blockers_of_item,
    blockers_of_phone,
    blockers_of_windows,
)
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.limit_blockers import limits_of_item, limits_of_phone
from phonefarm_controller.model.processes import Process, Tally
from phonefarm_controller.model.states import ITEM_ACTIVE, ITEM_TERMINAL, ITEM_WAITING
from phonefarm_controller.model.times import moment_text
from phonefarm_controller.scheduler.remedies import remedy

MOST_ITEMS: Final = 100
"""This many items are explained one by one; the others are only counted."""
MOST_PHONES: Final = 20
"""The most phones that are listed for one item."""

_FOR_ALL: Final = frozenset(
    {
        BlockerKind.PAUSED,
        BlockerKind.OUTSIDE_WINDOW,
        BlockerKind.LIMIT_REACHED,
        BlockerKind.STORAGE_FULL,
    }
)
_AT_WORK: Final = frozenset({BlockerKind.PHONE_BUSY, BlockerKind.ACCOUNT_BUSY})

NOTHING_HINDERS: Final = "about to be claimed"


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """A reason: how many items, or phones of an item, it holds back, and the remedies."""

    reason: BlockerKind
    count: int
    remedy: str


@dataclass(frozen=True, kw_only=True)
class PhoneReason:
    """Why one item is not claimed on one phone."""

    phone_id: str
    reason: BlockerKind
    detail: str


@dataclass(frozen=True, kw_only=True)
class ItemExplanation:
    """Why one item waits; an item without reasons is about to be claimed."""

    queue_item_id: str
    status: str
    ready_at: datetime | None  # None: it could be claimed now, if a phone were there
    deadline_at: datetime
    deadline_given: bool
    items_ahead: int
    reasons: tuple[ReasonCount, ...]
    phones: tuple[PhoneReason, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a process waits, as of one moment."""

    process_id: str
    status: str
    summary: str
    reasons: tuple[ReasonCount, ...] = ()
    items: tuple[ItemExplanation, ...] = ()


def blockers_of(
    item: Item, farm: FarmSnapshot, *, chosen: Collection[str], ahead: int, now: datetime
) -> list[Blocker]:
    """Return the blockers of the item; none when it is among *chosen*.

    *chosen* are the items that the claim would take this moment, *ahead* how many go before this
    one. What work and turns bring with them is left out for an item that is paused, outside its
    windows, at a limit, or whose time has not come.
    """
    if item.item_id in chosen:
        return []
    usable = farm.usable(item)
    found = list(blockers_of_item(item, usable, farm, now=now))
    found += limits_of_item(item, farm, now=now)
    if farm.shortage:
        found.append(Blocker(kind=BlockerKind.STORAGE_FULL, detail=farm.shortage))
    early = any(blocker.moment is not None or blocker.kind in _FOR_ALL for blocker in found)
    for phone in usable:
        here = [
            blocker
            for blocker in blockers_of_phone(phone)
            if not _is_for_work(blocker, item, phone)
        ]
        here += () if item.by_hand or item.golden else blockers_of_account(item, phone, farm)
        here += () if item.by_hand else blockers_of_windows(item, phone, farm, now=now)
        here += limits_of_phone(item, phone, farm, now=now)
        passing = all(blocker.kind in _AT_WORK for blocker in here)
        # A phone that nothing keeps from this item goes to another one.
        if passing and (ahead or not here):
            here.append(Blocker(kind=BlockerKind.BEHIND_OTHERS, phone_id=phone.phone_id))
        found += [blocker for blocker in here if not (early and blocker.kind in TRANSIENT)]
    return found


def _is_for_work(blocker: Blocker, item: Item, phone: PhoneNow) -> bool:
    """Tell whether this keeps other work from the phone, and not the item."""
    if item.golden:
        return phone.proving and blocker.kind is BlockerKind.PHONE_QUARANTINED
    return item.by_hand and blocker.kind in FOR_WORK


def explain_waiting(
    process: Process,
    tallies: Iterable[Tally],
    waiting: Sequence[Item],
    blockers: Mapping[str, Sequence[Blocker]],
    *,
    ahead: Mapping[str, int],
    now: datetime,
) -> Explanation:
    """Return why the process is where it is while it has not ended; *whys* and *ahead* by item."""
    held: dict[BlockerKind, list[Blocker]] = defaultdict(list)
    counts: dict[BlockerKind, int] = defaultdict(int)
    for item in waiting:
        for kind, found in _by_kind(blockers[item.item_id]).items():
            held[kind] += found
            counts[kind] += 1
    reasons = _counted(held, counts)
    return Explanation(
        process_id=process.process_id,
        status=str(process.status),
        summary=_summary(process, list(tallies), waiting, blockers, reasons),
        reasons=reasons,
        items=tuple(
            _explained_item(item, blockers[item.item_id], ahead=ahead.get(item.item_id, 0), now=now)
            for item in waiting[:MOST_ITEMS]
        ),
    )


def explain_end(process: Process, error: Mapping[str, Any] | None) -> Explanation:
    """Return that and why the process has ended; *error* is that of its record."""
    when = "" if process.finished_at is None else f" at {moment_text(process.finished_at)}"
    why = "" if error is None else f": {error['code']}: {error['message']}"
    status = str(process.status)
    summary = f"it ended {status}{when}{why}"
    return Explanation(process_id=process.process_id, status=status, summary=summary)


def _explained_item(
    item: Item, blockers: Sequence[Blocker], *, ahead: int, now: datetime
) -> ItemExplanation:
    late = item.ready_at > now
    at_phones = [blocker for blocker in blockers if blocker.phone_id]
    return ItemExplanation(
        queue_item_id=item.item_id,
        status=str(item.state),
        ready_at=item.ready_at if late else None,
        deadline_at=item.deadline_at,
        deadline_given=item.deadline_given,
        items_ahead=ahead,
        reasons=_counted(_by_kind(blockers)),
        phones=tuple(
            PhoneReason(phone_id=blocker.phone_id, reason=blocker.kind, detail=blocker.detail)
            for blocker in at_phones[:MOST_PHONES]
        ),
    )


def _by_kind(blockers: Iterable[Blocker]) -> dict[BlockerKind, list[Blocker]]:
    kinds: dict[BlockerKind, list[Blocker]] = defaultdict(list)
    for blocker in blockers:
        kinds[blocker.kind].append(blocker)
    return kinds


def _counted(
    kinds: Mapping[BlockerKind, Sequence[Blocker]], counts: Mapping[BlockerKind, int] | None = None
) -> tuple[ReasonCount, ...]:
    """Return the reasons, those that hold back most first, else in the order of the vocabulary."""
    found = [
        ReasonCount(
            reason=kind,
            count=len(kinds[kind]) if counts is None else counts[kind],
            remedy=remedy(kinds[kind]),
        )
        for kind in BlockerKind
        if kind in kinds
    ]
    return tuple(sorted(found, key=lambda each: -each.count))


def _summary(
    process: Process,
    tallies: Sequence[Tally],
    waiting: Sequence[Item],
    blockers: Mapping[str, Sequence[Blocker]],
    reasons: Sequence[ReasonCount],
) -> str:
    active = sum(tally.count for tally in tallies if tally.state in ITEM_ACTIVE)
    over = sum(tally.count for tally in tallies if tally.state in ITEM_TERMINAL)
    others = f"(on a phone: {active}, ended: {over})" if active or over else ""
    total = active + over + sum(t.count for t in tallies if t.state in ITEM_WAITING)
    if not waiting:
        word = "nothing waits" if process.cancel_requested_at is None else "it is being cancelled"
        return f"it runs: {_items(total)} {others}; {word}"
    if not reasons:
        return NOTHING_HINDERS
    free = sum(not blockers[item.item_id] for item in waiting)
    why = ", ".join(
        str(each.reason) if len(waiting) == 1 else f"{each.reason} ({each.count})"
        for each in reasons
    )
    parts = [f"{_items(len(waiting))} {'wait' if len(waiting) > 1 else 'waits'}: {why}"]
    if free:
        parts.append(f"{free} {NOTHING_HINDERS}")
    if others:
        parts.append(f"in total {_items(total)} {others}")
    return "; ".join(parts)


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"
