"""The janitor: removes what has had its time."""

import asyncio
from typing import Final

from phonefarm_controller.loops.enduring import enduring
from phonefarm_controller.operations.evidence_parts import Parts
from phonefarm_controller.operations.retire import Retire
from phonefarm_controller.sessions.vitals import Pulse

PERIOD_SECONDS: Final = 600.0


async def janitor(*, parts: Parts, retire: Retire, period: float, pulse: Pulse) -> None:
    """Look until cancelled; what is not done in one round is done in the next."""
    while True:
        pulse.beat()
        with enduring("janitor"):
            await parts.sweep()
        with enduring("janitor"):
            await retire.files()
        with enduring("janitor"):
            await retire.processes()
        await asyncio.sleep(period)
