"""The candidates: what may be next on the phones that are free."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

from phonefarm_controller.model.items import NO_ACCOUNT, NO_APP, Candidate
from phonefarm_controller.model.plans import MOST_CAP_SECONDS
from phonefarm_controller.model.windows import CLOSED, NO_END
from phonefarm_controller.scheduler.matching import FreePhone
from phonefarm_controller.store import queue
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.held_back import HeldBack


def seconds_left(ready: datetime, end: datetime) -> float:
    """Return how long a run may take that is ready then; at least 0, and at most what any may."""
    if end in {CLOSED, NO_END}:
        return 0.0 if end == CLOSED else MOST_CAP_SECONDS
    return min(max((end - ready).total_seconds(), 0.0), MOST_CAP_SECONDS)


async def read_candidates(
    tx: Transaction, free: Sequence[FreePhone], held_back: HeldBack, ready: datetime
) -> list[Candidate]:
    """Return what may be next on the phones, each once."""
    unlimited = [phone.phone_id for phone in free if not phone.ends]
    found = await queue.first_bound(tx, unlimited, held_back=held_back) if unlimited else []
    without_app = await queue.any_without_app(tx)
    if without_app:
        found += await _bound_without_app(tx, free, held_back, ready)
    accounts_of: dict[float, list[str]] = defaultdict(list)
    counts: dict[tuple[str, str | None], Counter[float]] = defaultdict(Counter)
    for phone in free:
        for app, names in phone.accounts.items():
            if app == NO_APP and not without_app:
                continue
            longest = {name: seconds_left(ready, phone.ends.get(name, NO_END)) for name in names}
            if phone.ends and app != NO_APP:
                for name, seconds in longest.items():
                    accounts_of[seconds].append(name)
            for group in (None, *phone.groups):
                counts[app, group][max(longest.values())] += 1
    limited = [phone.phone_id for phone in free if phone.ends]
    for seconds, account_ids in accounts_of.items():
        found += await queue.first_bound(
            tx, limited, account_ids=account_ids, seconds=seconds, held_back=held_back
        )
    for (app, group), by_length in counts.items():
        # Who has less time left may get any of these: as many as there are phones.
        for seconds in by_length:
            found += await queue.first_open(
                tx,
                app=app,
                phone_group=group,
                limit=by_length.total(),
                seconds=seconds,
                held_back=held_back,
            )
    return list({candidate.item_id: candidate for candidate in found}.values())


async def _bound_without_app(
    tx: Transaction, free: Sequence[FreePhone], held_back: HeldBack, ready: datetime
) -> list[Candidate]:
    """Return what may be next on each of the phones that needs no app and no account."""
    phones_of: dict[float, list[str]] = defaultdict(list)
    for phone in free:
        if NO_APP in phone.accounts:
            seconds = seconds_left(ready, phone.ends.get(NO_ACCOUNT, NO_END))
            phones_of[seconds].append(phone.phone_id)
    found = []
    for seconds, phone_ids in phones_of.items():
        found += await queue.first_bound_without_app(
            tx, phone_ids, seconds=seconds, held_back=held_back
        )
    return found
