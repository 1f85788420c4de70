"""Check that the place for evidence is this farm's own: at the start, and while it is used.

Controllers on one database must share the place: one that had another would list files which it
cannot read. A marker in it names the farm.
"""

import asyncio
import errno
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from phonefarm_common.config import ConfigError
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.alarms import Pulse, Sign, Vitals
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.evidence.backends.backend import Place
from phonefarm_controller.store import evidence
from phonefarm_controller.store.database import Database


class WrongPlaceError(ConfigError):
    """The place is not this farm's, or not for us; the text says what to do."""


class PlaceAwayError(Exception):
    """The place does not answer; the text names it."""


@whole
async def claim_evidence_place(
    database: Database, place: Place, *, farm_id: str, shared: bool
) -> None:
    """Find or leave the farm's marker in *place*; WrongPlaceError, PlaceAwayError.

    A place without one is taken when it has the farm's newest evidence, or there is none yet; one
    that is not *shared* with other controllers is always taken.
    """
    async with database.reading() as tx:
        newest = await evidence.newest_evidence(tx)
    try:
        await in_thread(partial(_claim, place, farm_id, newest if shared else None))
    except OSError as error:
        if error.errno in _OURS:
            raise WrongPlaceError(f"{place} cannot be used: {error.strerror}") from error
        raise PlaceAwayError(f"{place} does not answer: {error.strerror}") from error


def check_there(vitals: Vitals) -> None:
    """Raise FarmError `evidence_away` while the place is known not to be as it was at the start.

    Nobody waits then for what does not answer, and nothing is written where a directory was.
    """
    if wrong := vitals.wrong(Sign.EVIDENCE_AWAY):
        raise FarmError(Reason.EVIDENCE_AWAY, wrong)


_OURS = frozenset({errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENOTDIR, errno.EROFS})
"""What another try does not mend."""


@whole
async def trouble_with(place: Place, *, farm_id: str) -> str:
    """Return what keeps the place from being used now; empty when nothing does."""
    try:
        # Not behind the calls that hang because of it.
        found = await asyncio.to_thread(place.marker)
    except OSError as error:
        return f"{place} does not answer: {error.strerror}"
    if found is None:
        return f"{place} has lost its marker: it is not what it was at the start"
    return "" if found == farm_id else _belongs_to(place, found, farm_id)


def _claim(place: Place, farm_id: str, newest: str | None) -> None:
    found = place.marker()
    if found == farm_id:
        return
    if found is not None:
        raise WrongPlaceError(
            f"{_belongs_to(place, found, farm_id)}: give this controller the --data and --evidence,"
            " or the --farm, that go with its database"
        )
    if newest is not None and not place.has(newest):
        raise WrongPlaceError(
            f"{place} has no marker and not the evidence this farm has kept: give --evidence the"
            f" place that all its controllers share, mounted if it is a directory; or, if the"
            f" evidence is lost, write the farm's name into the marker: {place.marking(farm_id)}"
        )
    place.mark(farm_id)


def _belongs_to(place: Place, found: str, farm_id: str) -> str:
    return f"{place} belongs to the farm {found[:100]!r}, not to {farm_id!r}"


PERIOD_SECONDS: Final = 15.0


async def run_availability_check(
    pulse: Pulse,
    *,
    place: Place,
    farm_id: str,
    vitals: Vitals,
    period: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Look until cancelled; the vitals are told at once, and for how long it has been so."""
    well = monotonic()
    while True:
        pulse.beat()
        with enduring("evidence_availability"):
            wrong = await trouble_with(place, farm_id=farm_id)
            if not wrong:
                well = monotonic()
            vitals.tell(Sign.EVIDENCE_AWAY, monotonic() - well if wrong else 0.0, wrong)
        await asyncio.sleep(period)
