"""The fleet cache: what the matcher needs to know of phones and accounts, at most a second old.

It is only for looking: a claim reads everything again under lock before it commits.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP, CleanupStep

from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.cleanup import wanted
from phonefarm_controller.model.items import NO_ACCOUNT, NO_APP
from phonefarm_controller.model.limits import Limit
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.states import Condition
from phonefarm_controller.model.windows import (
    CLOSED,
    NO_END,
    NO_WINDOWS,
    Openings,
    Periods,
    openings_of,
)
from phonefarm_controller.scheduler.matching import FreePhone
from phonefarm_controller.store import fleet_rows, limits, windows
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.fleet_rows import FleetRows, Rows
from phonefarm_controller.store.leases import Busy
from phonefarm_controller.store.phones import PhoneAvailability

FRESH_SECONDS = 1.0
"""A change by another controller is seen at most this late."""


@dataclass(frozen=True, kw_only=True)
class FleetSnapshot:
    """The phones that may work, with their accounts, as of a moment ago."""

    phones: Mapping[str, FreePhone]
    pauses: Sequence[Pause] = ()
    holdable: Mapping[str, str] = field(default_factory=dict)
    """The agents of phones that a person may hold, including phones that get no work."""
    provable: frozenset[str] = frozenset()
    """The phones that may do a golden job."""
    clean_up: Mapping[str, frozenset[CleanupStep]] = field(default_factory=dict)
    """The clean-up steps of phones whose groups set steps."""
    openings: Openings = NO_WINDOWS
    """The windows as they are now; phones whose windows are closed are not in the snapshot."""
    limits: Sequence[Limit] = ()

    @property
    def paused(self) -> bool:
        """Tell whether nothing may begin at all."""
        return any(pause.scope is PauseScope.ALL for pause in self.pauses)

    def free(self, phone_id: str, agent_id: str, busy: Busy) -> FreePhone | None:
        """Return the phone with the accounts that are free, None when it cannot work now."""
        phone = self.phones.get(phone_id)
        if phone is None or phone.agent_id != agent_id or phone_id in busy.phones:
            return None
        if not any(name in busy.accounts for names in phone.accounts.values() for name in names):
            return phone
        free = {
            app: tuple(name for name in names if name not in busy.accounts)
            for app, names in phone.accounts.items()
        }
        accounts_left = {app: names for app, names in free.items() if names}
        return replace(phone, accounts=accounts_left)


class FleetCache:
    """Reads the fleet after a wake-up reports a change, or once a second.

    It makes a new snapshot only if what it reads has changed, or a phone's cooling may be over.
    """

    def __init__(self, *, wakeups: WakeUps, monotonic: Callable[[], float]) -> None:
        self._wakeups = wakeups
        self._monotonic = monotonic
        self._periods = Periods()
        self._fleet = FleetSnapshot(phones={})
        self._open = self._fleet
        self._stored: FleetRows | None = None
        self._window_rows: tuple[Rows, Rows] | None = None
        self._cooling = False
        self._version = -1
        self._read_at = 0.0

    async def current(self, tx: Transaction) -> FleetSnapshot:
        """Return the fleet, at most a second old."""
        now = self._monotonic()
        version = self._wakeups.fleet_version
        if version != self._version or now - self._read_at > FRESH_SECONDS:
            stored = await fleet_rows.read(tx)
            # What cools may work by time alone: by the database's clock, which may be set back.
            if self._cooling or stored != self._stored:
                known = stored.availability()
                self._fleet = _snapshot(stored, known, tx.now)
                self._open = self._opened(stored, tx.now)
                self._cooling = any(phone.cooling_until is not None for phone in known)
            self._stored, self._version, self._read_at = stored, version, now
        openings = self._open.openings
        # Windows open and close by time alone, like what cools.
        if self._stored is not None and not openings.since <= tx.now < openings.until:
            self._open = self._opened(self._stored, tx.now)
        return self._open

    def _opened(self, stored: FleetRows, now: datetime) -> FleetSnapshot:
        """Return the fleet without what the windows close at present."""
        openings = self._openings(stored, now)
        if openings is NO_WINDOWS:
            return self._fleet
        opened = (_opened(phone, openings) for phone in self._fleet.phones.values())
        provable = self._fleet.provable
        return replace(
            self._fleet,
            openings=openings,
            phones={phone.phone_id: phone for phone in opened if phone is not None},
            provable=frozenset(p for p in provable if openings.phones.get(p) != CLOSED),
        )

    async def clean_up(self, tx: Transaction) -> Mapping[str, frozenset[CleanupStep]]:
        """Return the steps of the phones whose pools want other than every step."""
        return (await self.current(tx)).clean_up

    def _openings(self, stored: FleetRows, now: datetime) -> Openings:
        """Return the windows as they are now; they are worked out again only if they change."""
        if not stored.windows:
            return NO_WINDOWS
        known, rows = self._open.openings, (stored.windows, stored.members)
        if rows != self._window_rows or not known.since <= now < known.until:
            found = windows.of_rows(stored.windows)
            known = openings_of(found, stored.memberships(), self._periods, now)
            self._window_rows = rows
        return known


def _opened(phone: FreePhone, openings: Openings) -> FreePhone | None:
    """Return the phone with the accounts that may begin work now; None if there are none."""
    here = openings.phones.get(phone.phone_id, NO_END)
    if here == CLOSED:
        return None
    ends = {
        name: min(here, openings.accounts.get(name, NO_END))
        for names in phone.accounts.values()
        for name in names
    }
    if all(end == NO_END for end in ends.values()):
        return phone
    accounts = {
        app: left
        for app, names in phone.accounts.items()
        if (left := tuple(name for name in names if ends[name] != CLOSED))
    }
    if not accounts:
        return None
    return replace(phone, accounts=accounts, ends={n: e for n, e in ends.items() if e != NO_END})


def _snapshot(
    stored: FleetRows, known: Sequence[PhoneAvailability], now: datetime
) -> FleetSnapshot:
    draining, policies = stored.drained_agents(), stored.cleanup_policies()
    known = [phone for phone in known if phone.agent_id not in draining]
    workable = [phone for phone in known if phone.may_work(now)]
    memberships = stored.memberships()
    resting = {pause.name for pause in stored.pauses if pause.scope is PauseScope.ACCOUNT}
    by_app: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    capable = stored.agents_without_app()
    for phone in workable:
        if phone.agent_id in capable:
            by_app[phone.phone_id][NO_APP] = [NO_ACCOUNT]
    active: Counter[tuple[str, str]] = Counter()
    for account in stored.bound_accounts():
        if account.phone_id is None:
            continue
        active[account.phone_id, account.app] += 1
        if account.condition is Condition.OK and account.account_id not in resting:
            by_app[account.phone_id][account.app].append(account.account_id)
    crowded: dict[str, set[str]] = defaultdict(set)
    for (phone_id, app), count in active.items():
        if count > 1:
            crowded[phone_id].add(app)
    return FleetSnapshot(
        pauses=stored.pauses,
        limits=limits.of_rows(stored.limits),
        holdable={phone.phone_id: phone.agent_id for phone in known if phone.may_be_held},
        provable=frozenset(phone.phone_id for phone in known if phone.may_prove(now)),
        clean_up={
            phone.phone_id: steps
            for phone in known
            if phone.phone_id in memberships
            if (steps := wanted(memberships[phone.phone_id], policies)) != EVERY_CLEANUP_STEP
        },
        phones={
            phone.phone_id: FreePhone(
                phone_id=phone.phone_id,
                agent_id=phone.agent_id,
                accounts={app: tuple(names) for app, names in by_app[phone.phone_id].items()},
                groups=memberships.get(phone.phone_id, frozenset()),
                crowded=frozenset(crowded[phone.phone_id]),
            )
            for phone in workable
            if phone.phone_id in by_app
        },
    )
