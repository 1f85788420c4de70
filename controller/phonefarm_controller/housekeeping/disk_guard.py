"""The disk guard: watches the data disk, and keeps a reserve so that running work can end.

New work is refused while there is still space. When even that is nearly gone, the reserve is given
back to the disk: results and callbacks of running work find space where nothing else does.
"""

import asyncio
from pathlib import Path

import structlog
from phonefarm_common.disk_space import RequiredFree, check_disk_space

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.concurrency.wakeups import WakeUps

log = structlog.get_logger()

PERIOD_SECONDS = 2.0


async def check_disk(
    data: Path, *, disk_alarm: DiskAlarm, wakeups: WakeUps, least: RequiredFree, reserve: int
) -> None:
    """Set the disk alarm and the reserve by what is free now."""
    shortage = await asyncio.to_thread(check_disk_space, data, least, reserve)
    if shortage == disk_alarm.shortage:
        return
    before, disk_alarm.shortage = disk_alarm.shortage, shortage
    if shortage and not before:
        log.error("storage.full", data=str(data), shortage=shortage)
    elif not shortage:
        log.info("storage.recovered", data=str(data))
        wakeups.work_made()
