"""The lookout: the one reader for everybody who watches a process."""

import asyncio
import math
import time
from typing import Final

from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.processes.watch import Watching

POLL_SECONDS: Final = 1.0
"""How late a move by another controller may be seen."""
LEAST_PAUSE_SECONDS: Final = 0.01
"""What comes closer together is told as one."""


async def lookout(*, watching: Watching, hints: Hints, pulse: Pulse) -> None:
    """Look until cancelled; half of the time at the most, however much is watched."""
    looked = -math.inf
    while True:
        pulse.beat()
        await hints.moves.taken(within=POLL_SECONDS)
        begun = time.monotonic()
        everywhere = begun - looked >= POLL_SECONDS
        with enduring("lookout"):
            await watching.look(everywhere=everywhere)
        if everywhere:
            looked = begun
        await asyncio.sleep(max(LEAST_PAUSE_SECONDS, time.monotonic() - begun))
