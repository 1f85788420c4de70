"""Survey: what the database tells of the farm's health, in one short look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.store import deliveries, leases
from phonefarm_controller.store.database import Database

UNCLEAN = frozenset({LeaseState.RELEASING, LeaseState.DIRTY})


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was seen."""

    claimable: frozenset[str]
    """The items that could be claimed now, by the claim's own rules, for phones offered here."""
    unclean: Mapping[str, str]
    """The phones whose run is over and which are not clean, by lease."""
    oldest_callback: float
    """Seconds since the oldest callback was made that is not delivered; 0 when all are."""


class Look:
    """Surveys."""

    def __init__(self, *, database: Database, claim: Claim) -> None:
        self._database = database
        self._claim = claim

    @whole
    async def __call__(self, offers: Sequence[OfferedPhone]) -> Survey:
        """Return what is to be seen now."""
        async with self._database.reading() as tx:
            seen = await self._claim.look(tx, offers)
            held = await leases.held(tx)
            oldest = await deliveries.oldest_undelivered(tx)
            age = 0.0 if oldest is None else (tx.now - oldest).total_seconds()
        return Survey(
            claimable=frozenset(pair.item_id for pair in seen.pairs),
            unclean={lease.lease_id: lease.phone_id for lease in held if lease.state in UNCLEAN},
            oldest_callback=max(age, 0.0),
        )
