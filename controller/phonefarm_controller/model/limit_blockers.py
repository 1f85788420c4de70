"""What limits keep from beginning: the rules of the claim read backwards."""

from collections.abc import Iterator
from datetime import datetime

from phonefarm_controller.model.blockers import Blocker, BlockerKind, FarmSnapshot, PhoneNow
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.limits import NO_RUNS, AccountLimits, AtWork, Reached


def limits_of_item(item: Item, farm: FarmSnapshot, *, now: datetime) -> Iterator[Blocker]:
    """Yield the limits that hold the item back on whichever phone: of its account and its app."""
    if item.by_hand or item.golden or not farm.limits:
        return
    if item.want_account_id is not None:
        yield from _of_account(item.want_account_id, farm, now=now)
    for limit in farm.room.full(AtWork(app=item.app, agent_id="", groups=())):
        yield _blocker(Reached(limit=limit))


def limits_of_phone(
    item: Item, phone: PhoneNow, farm: FarmSnapshot, *, now: datetime
) -> Iterator[Blocker]:
    """Yield the limits of the phone's host and groups, and of the account that would work there."""
    if item.by_hand or item.golden or not farm.limits:
        return
    if item.want_account_id is None:
        active = phone.active(item.app)
        if len(active) == 1:
            yield from _of_account(active[0].account_id, farm, now=now, phone_id=phone.phone_id)
    for limit in farm.room.full(AtWork(app="", agent_id=phone.agent_id, groups=phone.groups)):
        yield _blocker(Reached(limit=limit), phone.phone_id)


def _of_account(
    account_id: str, farm: FarmSnapshot, *, now: datetime, phone_id: str = ""
) -> Iterator[Blocker]:
    done = farm.runs.get(account_id, NO_RUNS)
    for reached in AccountLimits(farm.limits).reached(account_id, done, now):
        yield _blocker(reached, phone_id)


def _blocker(reached: Reached, phone_id: str = "") -> Blocker:
    return Blocker(
        kind=BlockerKind.LIMIT_REACHED,
        phone_id=phone_id,
        detail=reached.limit.told,
        moment=reached.until,
    )
