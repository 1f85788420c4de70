"""The stall detector: raises alarms for work that could continue and does not."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from phonefarm_controller.agents.offers import OfferedPhone, offers_here
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import AlarmName, Alarms, Limits
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.states import LeaseState
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.store import deliveries, leases
from phonefarm_controller.store.database import Database

UNCLEAN: Final = frozenset({LeaseState.RELEASING, LeaseState.DIRTY})


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The waiting work of the farm, at one moment."""

    claimable: frozenset[str]
    """The items that a claim could take now for phones that agents offer to this controller."""
    unclean: Mapping[str, str]
    """The phones whose run has ended and that are not clean, by lease."""
    oldest_callback: float
    """The age of the oldest undelivered callback in seconds; 0 if all are delivered."""


@uninterrupted
async def survey_farm(database: Database, claim: Claim, offers: Sequence[OfferedPhone]) -> Survey:
    """Return the work and the phones that wait now."""
    async with database.reading() as tx:
        seen = await claim.match(tx, offers)
        held = await leases.held(tx)
        oldest = await deliveries.oldest_undelivered(tx)
        age = 0.0 if oldest is None else (tx.now - oldest).total_seconds()
    return Survey(
        claimable=frozenset(pair.item_id for pair in seen.pairs),
        unclean={lease.lease_id: lease.phone_id for lease in held if lease.state in UNCLEAN},
        oldest_callback=max(age, 0.0),
    )


class StallDetector:
    """Remembers, by its own monotonic clock, since when each waiting thing has waited."""

    def __init__(
        self,
        *,
        database: Database,
        claim: Claim,
        sessions: Sessions,
        alarms: Alarms,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._claim = claim
        self._sessions = sessions
        self._alarms = alarms
        self._limits = limits
        self._monotonic = monotonic
        self._claimable: dict[str, float] = {}
        self._unclean: dict[str, float] = {}
        self._answered = monotonic()

    async def survey(self) -> None:
        """Survey once; raise an alarm as long as the database does not answer."""
        asked = asyncio.ensure_future(
            survey_farm(self._database, self._claim, offers_here(self._sessions))
        )
        try:
            while not (await asyncio.wait({asked}, timeout=self._limits.interval))[0]:
                self._tell_of_database("it does not answer")
            survey = asked.result()
        except DatabaseBusyError as error:
            self._tell_of_database(str(error))
            return
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        self._answered = self._monotonic()
        self._alarms.tell(AlarmName.DATABASE_AWAY, 0.0, "")
        self._judge(survey)

    def _tell_of_database(self, why: str) -> None:
        silent = self._monotonic() - self._answered
        wrong = f"no answer for {silent:.0f} s: {why}" if silent >= self._limits.database else ""
        self._alarms.tell(AlarmName.DATABASE_AWAY, silent, wrong)

    def _judge(self, survey: Survey) -> None:
        limits, tell = self._limits, self._alarms.tell
        waited = self._oldest(self._claimable, survey.claimable)
        wrong = ""
        if waited >= limits.stuck:
            wrong = (
                f"an item could run on an offered phone, but no controller has claimed it for "
                f"{waited:.0f} s; claimable items: {len(survey.claimable)}"
            )
        tell(AlarmName.SCHEDULER_STUCK, waited, wrong)
        unclean = self._oldest(self._unclean, survey.unclean)
        wrong = ""
        if unclean >= limits.dirty:
            now = self._monotonic()
            old = [lease for lease, at in self._unclean.items() if now - at >= limits.dirty]
            phones = ", ".join(sorted(survey.unclean[lease] for lease in old)[:5])
            wrong = (
                f"dirty phones: {phones} ({len(old)} in total); one of them has been dirty for "
                f"{unclean:.0f} s"
            )
        tell(AlarmName.DIRTY_OLD, unclean, wrong)
        late = survey.oldest_callback
        wrong = f"the oldest callback has waited {late:.0f} s" if late >= limits.callbacks else ""
        tell(AlarmName.CALLBACKS_LATE, late, wrong)

    def _oldest(self, memory: dict[str, float], seen: Iterable[str]) -> float:
        """Take what is seen into *memory*; return for how long the oldest of it is."""
        now, names = self._monotonic(), set(seen)
        for name in memory.keys() - names:
            del memory[name]
        for name in names:
            memory.setdefault(name, now)
        return max((now - since for since in memory.values()), default=0.0)
