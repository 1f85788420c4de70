"""Counts phones and work for the metrics, from time to time; a scrape reads the last count."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.fleet.phone_status import read_phone_status
from phonefarm_controller.model.blockers import PhoneNow, blockers_of_phone
from phonefarm_controller.model.states import ITEM_WAITING, Health
from phonefarm_controller.monitoring.phone_findings import DIRTY_CLASS, phone_class
from phonefarm_controller.store import leases, phones, work_counts
from phonefarm_controller.store.database import Database

PERIOD_SECONDS: Final = 15.0
FREE: Final = "free"


@dataclass(frozen=True, kw_only=True)
class FarmCounts:
    """The farm at one moment."""

    phones: Mapping[str, int] = field(default_factory=dict)  # by state
    items: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Items that have not ended, by app, capability and state."""
    oldest_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """For how long the oldest claimable item has waited, by app and capability."""
    deliveries: Mapping[str, int] = field(default_factory=dict)  # by state; not settled


class FarmCounter:
    """Counts; `now` is the last count."""

    def __init__(self, *, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions
        self.now = FarmCounts()

    @uninterrupted
    async def count(self) -> None:
        """Count once."""
        async with self._database.reading() as tx:
            known = [p for p in await phones.all_of(tx) if p.health is not Health.RETIRED]
            held = await leases.of_phones(tx, [phone.phone_id for phone in known])
            seen = await read_phone_status(tx, self._sessions, known, held)
            items = await work_counts.open_items(tx)
            oldest: dict[tuple[str, str], float] = {}
            for each in (each for each in items if each.state in ITEM_WAITING):
                of = (each.app, each.capability)
                waited = max((tx.now - each.oldest_ready_at).total_seconds(), 0.0)
                oldest[of] = max(oldest.get(of, 0.0), waited)
            self.now = FarmCounts(
                phones=Counter(phone_state(phone) for phone in seen.phones.values()),
                items={(each.app, each.capability, each.state): each.count for each in items},
                oldest_seconds=oldest,
                deliveries=await work_counts.owed_deliveries(tx),
            )


def phone_state(phone: PhoneNow) -> str:
    """Return the state of a phone in a word: free, dirty, or what first keeps work from it."""
    found, decisive = phone_class(blockers_of_phone(phone))
    if decisive is None:
        return FREE
    return "dirty" if found is DIRTY_CLASS else str(decisive.kind).removeprefix("phone_")
