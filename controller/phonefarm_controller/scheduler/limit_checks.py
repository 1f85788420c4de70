"""What limits leave of the free phones, and of the pairs that a claim has matched."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.limits import NO_RUNS, AccountLimits, AtWork, Limit, LimitKind, Room
from phonefarm_controller.scheduler.matching import FreePhone, Pair
from phonefarm_controller.store import limits
from phonefarm_controller.store.database import Transaction


async def within_limits(
    tx: Transaction, free: Sequence[FreePhone], known: Sequence[Limit]
) -> tuple[list[FreePhone], Room | None]:
    """Return the phones with the accounts that may begin a run now, and the room for runs.

    Phones that are left without an account, or whose agent or group is full, are left out. Without
    limits nothing is read.
    """
    if not known:
        return list(free), None
    of_accounts = AccountLimits(known)
    names = {name for phone in free for names in phone.accounts.values() for name in names}
    done = await limits.account_runs(tx, of_accounts, names) if of_accounts else {}
    spent = {name for name in names if of_accounts.reached(name, done.get(name, NO_RUNS), tx.now)}
    if not any(limit.kind is LimitKind.RUNS_AT_ONCE for limit in known):
        return _left(free, spent), None
    room = await limits.room(tx, known)
    with_room = [
        phone
        for phone in free
        if not room.full(AtWork(app="", agent_id=phone.agent_id, groups=phone.groups))
    ]
    return _left(with_room, spent), room


async def pairs_within_limits(
    tx: Transaction, pairs: Sequence[Pair], items: Mapping[str, Item]
) -> list[Pair]:
    """Return the pairs that no limit of runs at once refuses, in their order, under its lock.

    Limits of accounts are counted again at the start gate. Holds and golden jobs have no limits.
    """
    known = await limits.lock_at_once(tx)
    if not known:
        return list(pairs)
    memberships = await limits.limited_groups(tx, known)
    room = Room(known, await limits.at_work(tx, known, memberships))
    allowed = []
    for pair in pairs:
        item = items[pair.item_id]
        if not (item.by_hand or item.golden):
            groups = memberships.get(pair.phone_id, ())
            run = AtWork(app=item.app, agent_id=pair.agent_id, groups=groups)
            if room.full(run):
                continue
            room.take(run)
        allowed.append(pair)
    return allowed


def _left(free: Sequence[FreePhone], spent: set[str]) -> list[FreePhone]:
    """Return the phones without the accounts that are spent, and without those left with none."""
    if not spent:
        return list(free)
    left = [phone if spent.isdisjoint(_names(phone)) else _without(phone, spent) for phone in free]
    return [phone for phone in left if phone.accounts]


def _names(phone: FreePhone) -> set[str]:
    return {name for names in phone.accounts.values() for name in names}


def _without(phone: FreePhone, spent: set[str]) -> FreePhone:
    accounts = {
        app: left
        for app, names in phone.accounts.items()
        if (left := tuple(name for name in names if name not in spent))
    }
    return replace(phone, accounts=accounts)
