"""The storekeeper: looks at the data disk, and keeps some of it for the end of what runs.

New work ends while there is still room. When even that is nearly gone, the reserve is given back to
the disk: results, endings and their callbacks find room where nothing else does any more.
"""

import asyncio
from pathlib import Path

import structlog
from phonefarm_common.disk_space import RequiredFree, check_disk_space

from phonefarm_controller.alarms import Pulse, Room
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.wakeups import Hints

log = structlog.get_logger()

PERIOD_SECONDS = 2.0


async def run_disk_guard(
    pulse: Pulse,
    *,
    data: Path,
    room: Room,
    hints: Hints,
    least: RequiredFree,
    reserve: int,
    period: float,
) -> None:
    """Look until cancelled; *room* and the reserve follow what is seen."""
    while True:
        pulse.beat()
        with enduring("disk_guard"):
            await _look(data, room, hints, least, reserve)
        await asyncio.sleep(period)


async def _look(data: Path, room: Room, hints: Hints, least: RequiredFree, reserve: int) -> None:
    shortage = await asyncio.to_thread(check_disk_space, data, least, reserve)
    if shortage == room.shortage:
        return
    before, room.shortage = room.shortage, shortage
    if shortage and not before:
        log.error("storage.full", data=str(data), shortage=shortage)
    elif not shortage:
        log.info("storage.recovered", data=str(data))
        hints.work_made()
