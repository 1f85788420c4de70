"""The matcher: waiting items and free phones in, pairs out."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from phonefarm_controller.model.items import Candidate


@dataclass(frozen=True, kw_only=True)
class FreePhone:
    """A phone on offer, with the accounts that could work on it now (by app)."""

    phone_id: str
    agent_id: str
    accounts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    crowded: frozenset[str] = frozenset()  # apps with several active accounts here

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


def match_items(candidates: Iterable[Candidate], phones: Collection[FreePhone]) -> list[Pair]:
    """Return at most one item per phone and per account, in queue order.

    An item that fits no phone never holds back the next. An open item takes a phone that no bound
    item waits for, and another one than it failed on, when there is such a phone.
    """
    queue = sorted(candidates, key=lambda candidate: candidate.queue_order)
    wanted = {c.want_phone_id for c in queue if c.want_phone_id is not None}
    free = {phone.phone_id: phone for phone in phones}
    busy_accounts: set[str] = set()
    pairs: list[Pair] = []
    for candidate in queue:
        chosen = _choose(candidate, free, wanted, busy_accounts)
        if chosen is None:
            continue
        phone, account_id = chosen
        del free[phone.phone_id]
        busy_accounts.add(account_id)
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


def _choose(
    candidate: Candidate,
    free: Mapping[str, FreePhone],
    wanted: Collection[str],
    busy_accounts: Collection[str],
) -> tuple[FreePhone, str] | None:
    if candidate.want_phone_id is not None:
        phone = free.get(candidate.want_phone_id)
        account_id = candidate.want_account_id
        if phone is None or account_id is None or account_id in busy_accounts:
            return None
        known = phone.accounts.get(candidate.app, ())
        return (phone, account_id) if account_id in known else None
    fits = [
        (phone, account_id)
        for phone in free.values()
        if candidate.want_phone_group is None or candidate.want_phone_group in phone.groups
        if (account_id := phone.account_for(candidate.app)) is not None
        if account_id not in busy_accounts
    ]
    if not fits:
        return None
    return min(
        fits,
        key=lambda fit: (
            fit[0].phone_id == candidate.last_phone_id,
            fit[0].phone_id in wanted,
            fit[0].phone_id,
        ),
    )
