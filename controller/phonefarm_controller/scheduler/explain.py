"""Explains why items wait now, phone by phone."""

from collections import defaultdict
from collections.abc import Sequence

from phonefarm_controller.agents.offers import agents_elsewhere, offers_here, stored_offers
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.fleet.phone_status import read_phone_status
from phonefarm_controller.model.blockers import AccountNow, FarmSnapshot
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.items import NO_APP, Item
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.limits import AccountLimits
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.records import record_of
from phonefarm_controller.model.states import PROCESS_TERMINAL, Health
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.explanation import (
    Explanation,
    blockers_of,
    explain_end,
    explain_waiting,
)
from phonefarm_controller.store import (
    accounts,
    groups,
    items,
    leases,
    limits,
    pauses,
    phones,
    processes,
    queue_position,
    windows,
)
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.database import Database, Transaction


class Explain:
    """Explains why processes wait."""

    def __init__(
        self, *, database: Database, sessions: Sessions, claim: Claim, disk_alarm: DiskAlarm
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._claim = claim
        self._disk_alarm = disk_alarm

    @uninterrupted
    async def __call__(self, process_id: str) -> Explanation:
        """Return why each item that waits does so; FarmError `unknown_process`.

        The claim itself is asked what it would take now; nothing is claimed by it.
        """
        async with self._database.reading() as tx:
            process = await processes.get(tx, process_id)
            if process is None:
                raise unknown_process(process_id)
            if process.state in PROCESS_TERMINAL:
                return await _of_ended(tx, process)
            tallies = (await items.tallies(tx, {process_id}))[process_id]
            held_back = await queue_position.waiting_of(tx, process_id)
            away = await agents_elsewhere(tx, self._sessions)
            offers = offers_here(self._sessions) + stored_offers(away)
            seen = await self._claim.match(tx, offers if held_back else [])
            shortage = self._disk_alarm.shortage
            farm = await read_farm(
                tx,
                self._sessions,
                held_back,
                shortage=shortage,
                start_seconds=self._claim.start_seconds,
            )
            ahead = await _ahead(tx, held_back, farm)
            now = tx.now
        chosen = {pair.item_id for pair in seen.pairs}
        blockers = {
            item.item_id: blockers_of(
                item, farm, chosen=chosen, ahead=ahead.get(item.item_id, 0), now=now
            )
            for item in held_back
        }
        return explain_waiting(process, tallies, held_back, blockers, ahead=ahead, now=now)


async def read_farm(
    tx: Transaction,
    sessions: Sessions,
    held_back: Sequence[Item],
    *,
    shortage: str,
    start_seconds: float,
) -> FarmSnapshot:
    """Return the phones that the items could use, and all that is bound to these."""
    members = await groups.members_of(
        tx, "phone", {i.want_phone_group for i in held_back if i.want_phone_group is not None}
    )
    phone_ids = {i.want_phone_id for i in held_back if i.want_phone_id is not None}
    phone_ids |= {member for names in members.values() for member in names}
    named = {i.want_account_id for i in held_back if i.want_account_id is not None}
    anywhere = [i for i in held_back if i.want_phone_id is None and i.want_phone_group is None]
    if any(i.without_app for i in anywhere):
        everywhere = await phones.all_of(tx)
        phone_ids |= {each.phone_id for each in everywhere if each.health is not Health.RETIRED}
    if anywhere:
        known = await accounts.all_of(tx)
        phone_ids |= {account.phone_id for account in known if account.phone_id is not None}
    else:
        known = await accounts.named_or_on(tx, named, phone_ids)
    held = await leases.held(tx) if phone_ids or named else []
    acting = {lease.account_id: lease for lease in held if lease.account_held}
    there = {a.account_id: _account_now(a, acting.get(a.account_id)) for a in known}
    by_phone: dict[str, list[AccountNow]] = defaultdict(list)
    for account in there.values():
        if account.phone_id is not None:
            by_phone[account.phone_id].append(account)
    driven = {lease.phone_id: lease for lease in held}
    memberships = await groups.of_phones(tx, phone_ids)
    limited = await limits.all_of(tx)
    seen = await read_phone_status(
        tx,
        sessions,
        list((await phones.get(tx, phone_ids)).values()),
        driven,
        accounts=by_phone,
        groups=memberships,
    )
    return FarmSnapshot(
        phones=seen.phones,
        accounts=there,
        groups=members,
        pauses=await pauses.all_of(tx),
        windows=await windows.of_work(
            tx,
            account_ids=there,
            phone_ids=phone_ids,
            group_names={name for names in memberships.values() for name in names},
        ),
        limits=limited,
        runs=await limits.account_runs(tx, AccountLimits(limited), there),
        room=await limits.room(tx, limited),
        start_seconds=start_seconds,
        shortage=shortage,
    )


async def _of_ended(tx: Transaction, process: Process) -> Explanation:
    lines = (await items.lines(tx, {process.process_id}))[process.process_id]
    return explain_end(process, record_of(process, lines)["error"])


async def _ahead(tx: Transaction, held_back: Sequence[Item], farm: FarmSnapshot) -> dict[str, int]:
    """Count, by item, what waits and may be claimed before it on the phones it could use."""
    if not held_back:
        return {}
    bound = [item.item_id for item in held_back if item.want_phone_id is not None]
    before = await queue_position.bound_ahead(tx, bound) if bound else {}
    # Items of one process share priority and age: what is open is before all of them, or none.
    open_before = await queue_position.open_before(tx, held_back[0])
    ahead = {}
    for item in held_back:
        usable = farm.usable(item)
        if item.want_phone_id is None:
            names = [phone.phone_id for phone in usable]
            first = await queue_position.bound_before(tx, item, names)
        else:
            first = before.get(item.item_id, 0)
        fits = {
            (account.app, group)
            for phone in usable
            for account in phone.accounts
            if len(phone.active(account.app)) == 1
            for group in (None, *phone.groups)
        }
        fits |= {
            (NO_APP, group)
            for phone in usable
            if phone.runs_without_app
            for group in (None, *phone.groups)
        }
        ahead[item.item_id] = first + sum(open_before.get(each, 0) for each in fits)
    return ahead


def _account_now(account: Account, lease: Lease | None) -> AccountNow:
    return AccountNow(
        account_id=account.account_id,
        phone_id=account.phone_id,
        app=account.app,
        active=account.active,
        condition=account.condition,
        condition_reason=account.condition_reason,
        lease=lease,
    )
