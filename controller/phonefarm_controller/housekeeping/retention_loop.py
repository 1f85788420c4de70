"""The janitor: removes what has had its time."""

import asyncio
from typing import Final

import structlog

from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.threads import in_thread
from phonefarm_controller.evidence.backends.backend import Place
from phonefarm_controller.housekeeping.retention import Retire

log = structlog.get_logger()

PERIOD_SECONDS: Final = 600.0


async def janitor(*, place: Place, retire: Retire, period: float, pulse: Pulse) -> None:
    """Look until cancelled; what is not done in one round is done in the next."""
    while True:
        pulse.beat()
        with enduring("janitor"):
            await _sweep(place)
        with enduring("janitor"):
            await retire.files()
        with enduring("janitor"):
            await retire.processes()
        await asyncio.sleep(period)


async def _sweep(place: Place) -> None:
    if parts := await in_thread(place.sweep):
        log.info("evidence.parts_swept", parts=parts)
