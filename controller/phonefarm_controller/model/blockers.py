"""Finds why a phone cannot take a waiting item, by the same rules as the claim."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.limits import AccountRuns, Limit, Room
from phonefarm_controller.model.pauses import Pause, PauseScope, pause_of
from phonefarm_controller.model.states import Condition, Health, Intent, ItemState, LeaseState
from phonefarm_controller.model.windows import Window, next_start, windows_for


class BlockerKind(StrEnum):
    """Why an item cannot be claimed now, on one phone or on any."""

    PAUSED = "paused"
    OUTSIDE_WINDOW = "outside_window"
    LIMIT_REACHED = "limit_reached"
    NOT_DUE = "not_due"
    BACKING_OFF = "backing_off"
    NO_PHONE_IN_GROUP = "no_phone_in_group"
    NO_PHONE_WITH_APP = "no_phone_with_app"
    PHONE_RETIRED = "phone_retired"
    PHONE_QUARANTINED = "phone_quarantined"
    PHONE_NOT_ADMITTED = "phone_not_admitted"
    PHONE_IN_MAINTENANCE = "phone_in_maintenance"
    PHONE_DRAINING = "phone_draining"
    AGENT_DRAINING = "agent_draining"
    PHONE_COOLING_DOWN = "phone_cooling_down"
    PHONE_BUSY = "phone_busy"
    AGENT_DISCONNECTED = "agent_disconnected"
    HOST_INCIDENT = "host_incident"
    PHONE_NEEDS_HANDS = "phone_needs_hands"
    PHONE_OFFLINE = "phone_offline"
    PHONE_UNFIT = "phone_unfit"
    NOT_OFFERED = "not_offered"
    AGENT_TOO_OLD = "agent_too_old"
    WRONG_APP = "wrong_app"
    ACCOUNT_INACTIVE = "account_inactive"
    ACCOUNT_ELSEWHERE = "account_elsewhere"
    ACCOUNT_AMBIGUOUS = "account_ambiguous"
    ACCOUNT_NEEDS_ATTENTION = "account_needs_attention"
    ACCOUNT_BUSY = "account_busy"
    BEHIND_OTHERS = "behind_others"
    STORAGE_FULL = "storage_full"


_K = BlockerKind

BY_HEALTH: Final[Mapping[Health, BlockerKind | None]] = {
    Health.GOOD: None,
    Health.SUSPECT: None,
    Health.QUARANTINED: _K.PHONE_QUARANTINED,
    Health.RETIRED: _K.PHONE_RETIRED,
}
BY_INTENT: Final[Mapping[Intent, BlockerKind | None]] = {
    Intent.NEW: _K.PHONE_NOT_ADMITTED,
    Intent.IN_SERVICE: None,
    Intent.MAINTENANCE: _K.PHONE_IN_MAINTENANCE,
    Intent.DRAINING: _K.PHONE_DRAINING,
}
FOR_WORK: Final = frozenset(
    {
        _K.PHONE_QUARANTINED,
        _K.PHONE_NOT_ADMITTED,
        _K.PHONE_IN_MAINTENANCE,
        _K.PHONE_DRAINING,
        _K.PHONE_COOLING_DOWN,
    }
)
"""Blockers that stop work on a phone, but not a person's hold of it."""
TRANSIENT: Final = frozenset(
    {
        _K.PHONE_BUSY,
        _K.ACCOUNT_BUSY,
        _K.NOT_OFFERED,
        _K.BEHIND_OTHERS,
        _K.PHONE_COOLING_DOWN,
    }
)
"""Blockers that other work causes: they say nothing about a later time."""


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """One reason. `subject` is the account, agent, process or group that it is about."""

    kind: BlockerKind
    phone_id: str = ""  # empty when it is not about a phone
    detail: str = ""
    subject: str = ""
    app: str = ""
    moment: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AccountNow:
    """An account as it is now; `lease` is the lease under which a run uses it."""

    account_id: str
    phone_id: str | None
    app: str
    active: bool
    condition: Condition
    condition_reason: str
    lease: Lease | None = None


@dataclass(frozen=True, kw_only=True)
class PhoneNow:
    """A phone as it is now, with all accounts that are bound to it."""

    phone_id: str
    agent_id: str
    transport: Transport
    readiness: Readiness
    readiness_reason: str
    health: Health
    health_reason: str
    intent: Intent
    connected: bool  # its agent is
    agent_drain: str  # who wants its host empty and why; empty when nobody does
    offered: bool
    lease: Lease | None = None
    groups: frozenset[str] = frozenset()
    accounts: Sequence[AccountNow] = ()
    health_until: datetime | None = None
    cooling_until: datetime | None = None  # None as well when it is over
    needs_hands: str = ""  # as its agent says
    host_withheld: str = ""  # why its agent withholds the whole host
    proving: bool = False  # it is withheld until it has passed a golden job
    runs_without_app: bool = False  # its agent carries out plans without an app profile

    def active(self, app: str) -> list[AccountNow]:
        """Return the active accounts of *app* here."""
        return [account for account in self.accounts if account.active and account.app == app]


@dataclass(frozen=True, kw_only=True)
class FarmSnapshot:
    """The part of the farm that some items may use."""

    phones: Mapping[str, PhoneNow] = field(default_factory=dict)
    accounts: Mapping[str, AccountNow] = field(default_factory=dict)
    groups: Mapping[str, Collection[str]] = field(default_factory=dict)  # members by name
    pauses: Sequence[Pause] = ()
    windows: Sequence[Window] = ()
    limits: Sequence[Limit] = ()
    runs: Mapping[str, AccountRuns] = field(default_factory=dict)  # of accounts that have limits
    room: Room = field(default_factory=Room)  # for runs at once
    start_seconds: float = 0.0  # what a run may take from its claim to its first action
    shortage: str = ""  # why the controller's disk has no room; nothing is claimed meanwhile

    def usable(self, item: Item) -> list[PhoneNow]:
        """Return the phones that the item's target allows, by id."""
        if item.want_phone_id is not None:
            names: Collection[str] = (item.want_phone_id,)
        elif item.want_phone_group is not None:
            names = sorted(self.groups.get(item.want_phone_group, ()))
        else:
            return [
                phone
                for _, phone in sorted(self.phones.items())
                if item.without_app or phone.active(item.app)
            ]
        return [self.phones[name] for name in names if name in self.phones]


def blockers_of_item(
    item: Item, usable: Sequence[PhoneNow], farm: FarmSnapshot, *, now: datetime
) -> Iterator[Blocker]:
    """Yield what hinders the item on whichever phone."""
    pause = pause_of(
        farm.pauses, app=item.app, account_id=item.want_account_id, capability=item.capability
    )
    if pause is not None and not item.by_hand:
        yield _paused(pause)
    if not item.by_hand:
        anywhere = _windows_anywhere(item, farm)
        yield from _outside(item, anywhere, anywhere, farm, now=now)
    if item.state is ItemState.RETRYABLE:
        yield Blocker(kind=_K.BACKING_OFF, moment=item.ready_at, detail=_last(item))
    elif item.ready_at > now:
        # An attempt that failed before the start gate goes back to the queue, with a wait.
        late = _K.NOT_DUE if item.failure is None else _K.BACKING_OFF
        yield Blocker(kind=late, moment=item.ready_at, detail=_last(item))
    if usable:
        return
    if item.want_phone_group is not None:
        yield Blocker(kind=_K.NO_PHONE_IN_GROUP, subject=item.want_phone_group)
    elif item.want_phone_id is None:
        yield Blocker(kind=_K.NO_PHONE_WITH_APP, app=item.app)


def blockers_of_phone(phone: PhoneNow) -> Iterator[Blocker]:
    """Yield what keeps everybody from the phone."""
    health, intent = BY_HEALTH[phone.health], BY_INTENT[phone.intent]
    if health is not None:
        yield Blocker(
            kind=health,
            phone_id=phone.phone_id,
            detail=phone.health_reason,
            moment=phone.health_until,
        )
    if phone.cooling_until is not None and (health is None or phone.proving):
        yield Blocker(
            kind=_K.PHONE_COOLING_DOWN,
            phone_id=phone.phone_id,
            detail=phone.health_reason,
            moment=phone.cooling_until,
        )
    if intent is not None:
        yield Blocker(kind=intent, phone_id=phone.phone_id)
    if phone.agent_drain:
        agent = phone.agent_id
        told = f"{agent}, {phone.agent_drain}"
        yield Blocker(kind=_K.AGENT_DRAINING, phone_id=phone.phone_id, detail=told, subject=agent)
    lease = phone.lease
    if lease is not None and not (lease.state is LeaseState.DIRTY and health is not None):
        at_work = lease.state is LeaseState.LIVE
        yield Blocker(
            kind=_K.PHONE_BUSY,
            phone_id=phone.phone_id,
            detail=f"process {lease.process_id}{'' if at_work else f', {lease.state}'}",
            subject=lease.process_id if at_work else "",
        )
    if not phone.offered:
        yield from _not_offered(phone)


def _not_offered(phone: PhoneNow) -> Iterator[Blocker]:
    """Yield why its agent does not offer it; what a gone agent last saw is no evidence."""
    at = phone.phone_id
    if not phone.connected:
        agent = phone.agent_id
        yield Blocker(kind=_K.AGENT_DISCONNECTED, phone_id=at, detail=agent, subject=agent)
        return
    if phone.host_withheld:
        withheld = phone.host_withheld
        yield Blocker(kind=_K.HOST_INCIDENT, phone_id=at, detail=withheld, subject=phone.agent_id)
    if phone.needs_hands:
        yield Blocker(kind=_K.PHONE_NEEDS_HANDS, phone_id=at, detail=phone.needs_hands)
    if phone.transport is not Transport.ONLINE:
        yield Blocker(kind=_K.PHONE_OFFLINE, phone_id=at, detail=str(phone.transport))
    elif phone.lease is not None:
        return  # nobody offers a phone at work
    elif phone.readiness is not Readiness.READY:
        said = ": ".join(filter(None, (str(phone.readiness), phone.readiness_reason)))
        yield Blocker(kind=_K.PHONE_UNFIT, phone_id=at, detail=said)
    elif not phone.host_withheld and not phone.needs_hands:
        yield Blocker(kind=_K.NOT_OFFERED, phone_id=at, subject=phone.agent_id)


def blockers_of_windows(
    item: Item, phone: PhoneNow, farm: FarmSnapshot, *, now: datetime
) -> Iterator[Blocker]:
    """Yield what the windows of the phone, and of the account that would work there, hinder."""
    account_id = item.want_account_id
    if account_id is None and not item.golden:
        active = phone.active(item.app)
        account_id = active[0].account_id if len(active) == 1 else None
    found = windows_for(
        farm.windows,
        capability=item.capability,
        account_id=account_id,
        phone_id=phone.phone_id,
        groups=phone.groups,
    )
    anywhere = _windows_anywhere(item, farm)
    here = [window for window in found if window not in anywhere]
    yield from _outside(item, here, found, farm, now=now, phone_id=phone.phone_id)


def _windows_anywhere(item: Item, farm: FarmSnapshot) -> list[Window]:
    """Return the windows of the item on whichever phone."""
    return windows_for(farm.windows, capability=item.capability, account_id=item.want_account_id)


def _outside(
    item: Item,
    windows: Sequence[Window],
    together: Sequence[Window],
    farm: FarmSnapshot,
    *,
    now: datetime,
    phone_id: str = "",
) -> Iterator[Blocker]:
    """Yield that some of *windows* keep the item from beginning now.

    `moment` is when it may begin in all of them *together*; None if not within five weeks.
    """
    seconds = farm.start_seconds + item.cap_seconds
    closed = [window for window in windows if next_start((window,), now, seconds) != now]
    if closed:
        yield Blocker(
            kind=_K.OUTSIDE_WINDOW,
            phone_id=phone_id,
            detail="; ".join(window.told for window in closed),
            moment=next_start(tuple(together), now, seconds),
        )


def blockers_of_account(item: Item, phone: PhoneNow, farm: FarmSnapshot) -> Iterator[Blocker]:
    """Yield what keeps the item from acting on the phone for an account, or without one."""
    if item.without_app:
        if not phone.runs_without_app:
            yield Blocker(
                kind=_K.AGENT_TOO_OLD,
                phone_id=phone.phone_id,
                detail=phone.agent_id,
                subject=phone.agent_id,
            )
        return
    if item.want_phone_id is None:
        active = phone.active(item.app)
        if len(active) != 1:
            yield _not_one(item, phone, active)
            return
        account: AccountNow | None = active[0]
        for pause in farm.pauses:
            if (pause.scope, pause.name) == (PauseScope.ACCOUNT, active[0].account_id):
                yield _paused(pause, phone.phone_id)
    else:
        account = farm.accounts.get(item.want_account_id or "")
    if account is None:
        name = item.want_account_id or "no account"
        yield _about(item, phone, _K.ACCOUNT_INACTIVE, f"{name}, which does not exist", name)
    else:
        yield from _unable(item, phone, account)


def _unable(item: Item, phone: PhoneNow, account: AccountNow) -> Iterator[Blocker]:
    name = account.account_id
    if not account.active:
        yield _about(item, phone, _K.ACCOUNT_INACTIVE, name, name)
    if account.phone_id != phone.phone_id:
        where = f"{name} is on {account.phone_id or 'no phone'}"
        yield _about(item, phone, _K.ACCOUNT_ELSEWHERE, where, name)
    if account.app != item.app:
        yield _about(item, phone, _K.WRONG_APP, f"{name} is an account of {account.app}", name)
    if account.condition is not Condition.OK:
        said = ": ".join(filter(None, (name, account.condition_reason)))
        yield _about(item, phone, _K.ACCOUNT_NEEDS_ATTENTION, said, name)
    lease = account.lease
    # On this very phone it is the one lease that makes the phone busy.
    if lease is not None and lease.phone_id != phone.phone_id:
        by = f"{name}, by process {lease.process_id} on {lease.phone_id}"
        yield _about(item, phone, _K.ACCOUNT_BUSY, by, lease.process_id)


def _not_one(item: Item, phone: PhoneNow, active: Sequence[AccountNow]) -> Blocker:
    """Return why an open item finds no one account: there are several, or none."""
    if active:
        names = [account.account_id for account in active]
        return _about(item, phone, _K.ACCOUNT_AMBIGUOUS, ", ".join(names), names[-1])
    asleep = [account.account_id for account in phone.accounts if account.app == item.app]
    if asleep:
        return _about(item, phone, _K.ACCOUNT_INACTIVE, ", ".join(asleep), asleep[0])
    return _about(item, phone, _K.WRONG_APP, f"the phone has no account of {item.app}", "")


def _about(item: Item, phone: PhoneNow, kind: BlockerKind, detail: str, subject: str) -> Blocker:
    return Blocker(
        kind=kind,
        phone_id=phone.phone_id,
        detail=detail,
        subject=subject,
        app=item.app,
    )


def _paused(pause: Pause, phone_id: str = "") -> Blocker:
    words = f"--{pause.scope} {pause.name}".strip()
    return Blocker(kind=_K.PAUSED, phone_id=phone_id, detail=pause.told, subject=words)


def _last(item: Item) -> str:
    return "" if item.failure is None else item.failure.code
