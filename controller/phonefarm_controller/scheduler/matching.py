"""The matcher: waiting items and free phones in, pairs out."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from phonefarm_controller.model.items import NO_ACCOUNT, NO_APP, Candidate
from phonefarm_controller.model.limits import AtWork, Room
from phonefarm_controller.model.windows import NO_END


@dataclass(frozen=True, kw_only=True)
class FreePhone:
    """A phone on offer, with the accounts that could work on it now (by app).

    Its agent can do work without an app where `accounts` names NO_ACCOUNT for NO_APP.
    """

    phone_id: str
    agent_id: str
    accounts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    crowded: frozenset[str] = frozenset()  # apps with several active accounts here
    ends: Mapping[str, datetime] = field(default_factory=dict)
    """The time at which a run must have ended, by account, if a window limits it."""

    def account_for(self, app: str) -> str | None:
        """Return the one account for *app*; None when there is none or several.

        Several stay several while all but one of them cannot work just now.
        """
        names = self.accounts.get(app, ())
        return names[0] if len(names) == 1 and app not in self.crowded else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One item for one phone and one account."""

    item_id: str
    process_id: str
    phone_id: str
    agent_id: str
    account_id: str


def match_items(
    candidates: Iterable[Candidate],
    phones: Collection[FreePhone],
    *,
    ready: datetime,
    room: Room | None = None,
) -> list[Pair]:
    """Return at most one item per phone and per account, in queue order.

    Runs act from *ready* on at the latest, and end within their limits of time. An item that fits
    no phone never holds back the next. An open item takes a phone that no bound item waits for,
    and another one than it failed on, when there is such a phone. NO_ACCOUNT is no account: any
    number of phones may do work without one. No more are matched than there is *room* for; None is
    room for all.
    """
    queue = sorted(candidates, key=lambda candidate: candidate.queue_order)
    wanted = {c.want_phone_id for c in queue if c.want_phone_id is not None}
    free = _FreePhones(phones, wanted, ready, room)
    pairs: list[Pair] = []
    for candidate in queue:
        chosen = free.choose(candidate)
        if chosen is None:
            continue
        phone, account_id = chosen
        free.take(phone, account_id, candidate.app)
        pairs.append(
            Pair(
                item_id=candidate.item_id,
                process_id=candidate.process_id,
                phone_id=phone.phone_id,
                agent_id=phone.agent_id,
                account_id=account_id,
            )
        )
    return pairs


_Fit = tuple[FreePhone, str]
"""A phone and the account that would work on it."""


class _FreePhones:
    """The phones that are not matched yet."""

    def __init__(
        self,
        phones: Collection[FreePhone],
        wanted: Collection[str],
        ready: datetime,
        room: Room | None,
    ) -> None:
        self._ready = ready
        self._room = room
        # In the order in which open items get them.
        order = sorted(phones, key=lambda phone: (phone.phone_id in wanted, phone.phone_id))
        self._free = {phone.phone_id: phone for phone in order}
        self._busy_accounts: set[str] = set()
        self._fits: dict[tuple[str, str | None], deque[_Fit]] = {}  # by app and group
        self._too_long: dict[tuple[str, str | None], float] = {}  # seconds, by app and group

    def choose(self, candidate: Candidate) -> _Fit | None:
        """Return the phone and the account for this item, None when there is none."""
        if candidate.want_phone_id is None:
            return self._for_open(candidate)
        phone = self._free.get(candidate.want_phone_id)
        account_id = NO_ACCOUNT if candidate.app == NO_APP else candidate.want_account_id
        if phone is None or account_id is None or account_id in self._busy_accounts:
            return None
        known = phone.accounts.get(candidate.app, ())
        fit = phone, account_id
        if account_id not in known or not self._has_room(phone, candidate.app):
            return None
        return fit if self._in_time(candidate, fit) else None

    def take(self, phone: FreePhone, account_id: str, app: str) -> None:
        """Give the phone and the account away."""
        del self._free[phone.phone_id]
        if self._room is not None:
            self._room.take(_at_work(phone, app))
        if account_id != NO_ACCOUNT:
            self._busy_accounts.add(account_id)

    def _for_open(self, candidate: Candidate) -> _Fit | None:
        key = candidate.app, candidate.want_phone_group
        if key not in self._fits:
            self._fits[key] = self._fitting(*key)
        fits = self._fits[key]
        # What takes as long as one that got no phone gets none either: phones only go.
        if candidate.cap_seconds >= self._too_long.get(key, inf):
            return None
        while fits and not self._still_free(fits[0], candidate.app):
            fits.popleft()
        failed_on = None
        for fit in fits:
            if not self._in_time(candidate, fit):
                continue
            if fit[0].phone_id == candidate.last_phone_id:
                failed_on = fit
            elif self._still_free(fit, candidate.app):
                return fit
        if failed_on is not None and self._still_free(failed_on, candidate.app):
            return failed_on
        self._too_long[key] = candidate.cap_seconds
        return None

    def _fitting(self, app: str, group: str | None) -> deque[_Fit]:
        return deque(
            (phone, account_id)
            for phone in self._free.values()
            if group is None or group in phone.groups
            if (account_id := phone.account_for(app)) is not None
        )

    def _in_time(self, candidate: Candidate, fit: _Fit) -> bool:
        """Tell whether the run would end before a window of the phone or the account does."""
        phone, account_id = fit
        if not phone.ends:
            return True
        end = phone.ends.get(account_id, NO_END)
        return end == NO_END or self._ready + timedelta(seconds=candidate.cap_seconds) <= end

    def _still_free(self, fit: _Fit, app: str) -> bool:
        phone, account_id = fit
        there = phone.phone_id in self._free and account_id not in self._busy_accounts
        return there and self._has_room(phone, app)

    def _has_room(self, phone: FreePhone, app: str) -> bool:
        return self._room is None or not self._room.full(_at_work(phone, app))


def _at_work(phone: FreePhone, app: str) -> AtWork:
    return AtWork(app=app, agent_id=phone.agent_id, groups=phone.groups)
