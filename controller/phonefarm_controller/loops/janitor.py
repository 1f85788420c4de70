"""The janitor: removes what has had its time."""

import asyncio
from typing import Final

from phonefarm_controller.loops.enduring import enduring
from phonefarm_controller.operations.evidence_parts import Parts

PERIOD_SECONDS: Final = 600.0


async def janitor(*, parts: Parts, period: float) -> None:
    """Look until cancelled."""
    while True:
        with enduring("janitor"):
            await parts.sweep()
        await asyncio.sleep(period)
