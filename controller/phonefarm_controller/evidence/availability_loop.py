"""The curator: looks whether the place for evidence is there and still the farm's."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from phonefarm_controller.alarms.catalog import Sign
from phonefarm_controller.alarms.registry import Pulse, Vitals
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.evidence.availability import trouble_with
from phonefarm_controller.evidence.backends.backend import Place

PERIOD_SECONDS: Final = 15.0


async def curator(
    *,
    place: Place,
    farm_id: str,
    vitals: Vitals,
    period: float,
    pulse: Pulse,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Look until cancelled; the vitals are told at once, and for how long it has been so."""
    well = monotonic()
    while True:
        pulse.beat()
        with enduring("curator"):
            wrong = await trouble_with(place, farm_id=farm_id)
            if not wrong:
                well = monotonic()
            vitals.tell(Sign.EVIDENCE_AWAY, monotonic() - well if wrong else 0.0, wrong)
        await asyncio.sleep(period)
