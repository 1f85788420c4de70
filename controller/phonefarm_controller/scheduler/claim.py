"""Claim: match waiting items with offered phones and commit run, phone lease and account lease."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from phonefarm_common.ids import new_id
from phonefarm_common.timers import Timers

from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model import failures
from phonefarm_controller.model.items import (
    GOLDEN,
    NO_ACCOUNT,
    Item,
    claimed,
    dead,
)
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.pauses import pause_of
from phonefarm_controller.model.plans import MOST_CAP_SECONDS
from phonefarm_controller.model.run_reports import Assignment
from phonefarm_controller.model.states import (
    ITEM_CLAIMABLE,
    Condition,
    LeaseState,
    RunState,
)
from phonefarm_controller.model.windows import NO_END
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.runs.assignments import AssignmentBuilder
from phonefarm_controller.scheduler.candidates import read_candidates, seconds_left
from phonefarm_controller.scheduler.fleet_cache import FleetCache, FleetSnapshot
from phonefarm_controller.scheduler.limit_checks import pairs_within_limits, within_limits
from phonefarm_controller.scheduler.matching import Pair, match_items
from phonefarm_controller.store import (
    accounts,
    agents,
    items,
    leases,
    phones,
    processes,
    queue,
    runs,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.held_back import HeldBack

log = structlog.get_logger()

CAP_GRACE_SECONDS = 30.0
"""A lease lasts at most its run's time limit, the time to start, and this."""


MOST_UNPROMOTED: Final = 256
"""At most this many due items that are not yet marked ready are considered per claim."""
MOST_PROMOTED: Final = 10_000
"""At most this many due items are marked ready per claim."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    item: Item
    lease: Lease
    run: runs.Run


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The pairs that a claim would take; *unpromoted*: some due items are not marked ready yet.

    *limited*: there are limits of runs at once.
    """

    pairs: list[Pair]
    unpromoted: bool = False
    limited: bool = False


class Claim:
    """Claims for many phones of many agents at once."""

    def __init__(
        self,
        *,
        database: Database,
        fleet_cache: FleetCache,
        assignments: AssignmentBuilder,
        disk_alarm: DiskAlarm,
        timers: Timers,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._fleet_cache = fleet_cache
        self._assignments = assignments
        self._disk_alarm = disk_alarm
        self._timers = timers
        self._ids = ids

    @property
    def start_seconds(self) -> float:
        """Return how long a run may take from its claim to its first action."""
        return self._timers.start

    @uninterrupted
    async def __call__(self, offers: Sequence[OfferedPhone]) -> list[Assignment]:
        """Return what was claimed; it is committed. At most one item per phone and account."""
        async with self._database.reading() as tx:
            seen = await self.match(tx, offers)
        if seen.unpromoted:
            async with self._database.writing() as tx:
                await queue.promote(tx, limit=MOST_PROMOTED)
        if not seen.pairs:
            return []
        async with self._database.writing() as tx:
            return await self._take(tx, seen.pairs, offers, limited=seen.limited)

    async def match(self, tx: Transaction, offers: Sequence[OfferedPhone]) -> Matches:
        """Match on what can be read without locks; the claim checks every pair again under lock."""
        if self._disk_alarm.shortage:
            return Matches(pairs=[])
        unpromoted = await queue.any_unpromoted(tx)
        if not unpromoted and not await queue.any_ready(tx):
            return Matches(pairs=[])
        fleet = await self._fleet_cache.current(tx)
        busy = await leases.busy(tx)
        ready = tx.now + timedelta(seconds=self._timers.start)
        alone = await _phone_only(tx, offers, fleet, busy, ready)
        held = {pair.phone_id for pair in alone}
        free = [
            phone
            for offer in offers
            if offer.phone_id not in held
            if (phone := fleet.free(offer.phone_id, offer.agent_id, busy)) is not None
        ]
        if not free or fleet.paused:
            return Matches(pairs=alone)
        held_back = HeldBack(
            pauses=fleet.pauses,
            longest={
                name: seconds_left(ready, end)
                for name, end in fleet.openings.capabilities.items()
                if seconds_left(ready, end) < MOST_CAP_SECONDS
            },
        )
        free, room = await within_limits(tx, free, fleet.limits)
        if not free:
            return Matches(pairs=alone)
        candidates = await read_candidates(tx, free, held_back, ready)
        if unpromoted:
            candidates += await queue.unpromoted(tx, limit=MOST_UNPROMOTED, held_back=held_back)
        pairs = match_items(candidates, free, ready=ready, room=room)
        return Matches(pairs=[*alone, *pairs], unpromoted=unpromoted, limited=room is not None)

    async def _take(
        self,
        tx: Transaction,
        pairs: Sequence[Pair],
        offers: Sequence[OfferedPhone],
        *,
        limited: bool,
    ) -> list[Assignment]:
        locked = await processes.lock(tx, {pair.process_id for pair in pairs})
        before = await items.lock(tx, {pair.item_id for pair in pairs})
        known = await phones.lock(tx, {pair.phone_id for pair in pairs})
        owners = await accounts.lock(tx, {pair.account_id for pair in pairs} - {NO_ACCOUNT})
        live = await agents.get(tx, {offer.agent_id for offer in offers})
        terms = {(o.agent_id, o.phone_id): o.term for o in offers}
        busy = await leases.busy(tx)
        pairs = [
            pair
            for pair in pairs
            if pair.phone_id not in busy.phones
            and pair.account_id not in busy.accounts
            and before[pair.item_id].state in ITEM_CLAIMABLE
            and before[pair.item_id].cancel is None
            # A clock that was set back since they were matched may say that it is not due yet.
            and (before[pair.item_id].by_hand or before[pair.item_id].ready_at <= tx.now)
            and _may(known[pair.phone_id], before[pair.item_id], tx.now)
            and known[pair.phone_id].agent_id == pair.agent_id
            and live[pair.agent_id].term == terms[pair.agent_id, pair.phone_id]
            and not live[pair.agent_id].drain
            and (live[pair.agent_id].runs_without_app or not before[pair.item_id].without_app)
            and (
                pair.account_id == NO_ACCOUNT
                or _can_act(owners.get(pair.account_id), pair.phone_id)
            )
        ]
        # Last, for the locks of the limits come after all others.
        if limited:
            pairs = await pairs_within_limits(tx, pairs, before)
        unfit = await self._end_unreadable(tx, pairs, before)
        pairs = [pair for pair in pairs if pair.item_id not in unfit]
        if unfit:
            touched = {before[item_id].process_id for item_id in unfit}
            await roll_up_status(
                tx, {key: process for key, process in locked.items() if key in touched}
            )
        if not pairs:
            return []
        epochs = await phones.raise_epochs(tx, [known[pair.phone_id] for pair in pairs])
        chosen = [
            self._choose(tx, pair, before[pair.item_id], epochs[pair.phone_id]) for pair in pairs
        ]
        await items.save(tx, before, [choice.item for choice in chosen])
        await runs.insert(tx, [choice.run for choice in chosen])
        await leases.grant(tx, [choice.lease for choice in chosen])
        touched = {choice.item.process_id for choice in chosen}
        if unfit:  # what was synced above is no longer as it was locked
            locked = await processes.lock(tx, touched)
        await roll_up_status(
            tx, {key: process for key, process in locked.items() if key in touched}
        )
        serials = {phone.phone_id: phone.serialno for phone in known.values()}
        return await self._assignments.build(tx, [(c.item, c.lease) for c in chosen], serials)

    async def _end_unreadable(
        self, tx: Transaction, pairs: Sequence[Pair], before: Mapping[str, Item]
    ) -> set[str]:
        """End the items whose frozen profile this controller cannot read; return their ids.

        Else each would be claimed, fail to be told to its agent, and be claimed again.
        """
        versions = {before[pair.item_id].profile_version for pair in pairs}
        unreadable = await self._assignments.unreadable(tx, versions)
        over = {
            pair.item_id: dead(before[pair.item_id], failure=failures.plan_invalid(why), now=tx.now)
            for pair in pairs
            if (why := unreadable.get(before[pair.item_id].profile_version)) is not None
        }
        if over:
            await items.save(tx, before, list(over.values()))
            log.error("profile.unreadable", item_ids=sorted(over))
        return set(over)

    def _choose(self, tx: Transaction, pair: Pair, item: Item, epoch: int) -> _Chosen:
        lease_id, run_id = self._ids(), self._ids()
        moved = claimed(
            item,
            phone_id=pair.phone_id,
            account_id=pair.account_id,
            run_id=run_id,
            lease_id=lease_id,
            epoch=epoch,
        )
        limit = item.cap_seconds + CAP_GRACE_SECONDS + self._timers.start
        lease = Lease(
            lease_id=lease_id,
            run_id=run_id,
            item_id=item.item_id,
            process_id=item.process_id,
            phone_id=pair.phone_id,
            account_id=pair.account_id,
            agent_id=pair.agent_id,
            epoch=epoch,
            state=LeaseState.LIVE,
            phone_held=True,
            account_held=pair.account_id != NO_ACCOUNT,
            renewals=0,
            cap_at=tx.now + timedelta(seconds=limit),
            granted_at=tx.now,
        )
        run = runs.Run(
            run_id=run_id,
            item_id=item.item_id,
            attempt=moved.attempt,
            phone_id=pair.phone_id,
            account_id=pair.account_id,
            agent_id=pair.agent_id,
            lease_id=lease_id,
            epoch=epoch,
            state=RunState.CLAIMED,
            created_at=tx.now,
        )
        return _Chosen(item=moved, lease=lease, run=run)


async def _phone_only(
    tx: Transaction,
    offers: Sequence[OfferedPhone],
    fleet: FleetSnapshot,
    busy: leases.Busy,
    ready: datetime,
) -> list[Pair]:
    """Return what waits for an offered phone and no account, at most one a phone, before all work.

    Holds first, a person goes before any pause and window; golden jobs wait for both like work.
    """
    free = {
        offer.phone_id: offer.agent_id
        for offer in offers
        if fleet.holdable.get(offer.phone_id) == offer.agent_id
        if offer.phone_id not in busy.phones
    }
    found = await queue.open_phone_only(tx, list(free), claimable=True) if free else []
    chosen: dict[str, queue.PhoneOnlyItem] = {}
    for each in sorted(found, key=lambda each: not each.by_hand):
        if each.by_hand or (
            each.phone_id in fleet.provable
            and pause_of(fleet.pauses, app=each.app, account_id=None, capability=GOLDEN) is None
            and each.cap_seconds <= seconds_left(ready, _golden_end(fleet, each.phone_id))
        ):
            chosen.setdefault(each.phone_id, each)
    return [
        Pair(
            item_id=each.item_id,
            process_id=each.process_id,
            phone_id=each.phone_id,
            agent_id=free[each.phone_id],
            account_id=NO_ACCOUNT,
        )
        for each in chosen.values()
    ]


def _golden_end(fleet: FleetSnapshot, phone_id: str) -> datetime:
    openings = fleet.openings
    return min(openings.phones.get(phone_id, NO_END), openings.capabilities.get(GOLDEN, NO_END))


def _may(phone: phones.Phone, item: Item, now: datetime) -> bool:
    if item.by_hand:
        return phone.may_be_held
    return phone.may_prove(now) if item.golden else phone.may_work(now)


def _can_act(account: accounts.Account | None, phone_id: str) -> bool:
    return (
        account is not None
        and account.active
        and account.condition is Condition.OK
        and account.phone_id == phone_id
    )
