"""The storekeeper: looks at the data disk, and keeps some of it for the end of what runs.

New work ends while there is still room. When even that is nearly gone, the reserve is given back to
the disk: results, endings and their callbacks find room where nothing else does any more.
"""

import asyncio
import os
from pathlib import Path

import structlog
from phonefarm_common.storage import LeastFree, disk_figures

from phonefarm_controller.loops.enduring import enduring
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.sessions.room import Room

log = structlog.get_logger()

PERIOD_SECONDS = 2.0
RESERVE_NAME = "reserve"


async def storekeeper(
    *,
    data: Path,
    room: Room,
    hints: Hints,
    least: LeastFree,
    reserve: int,
    period: float,
) -> None:
    """Look until cancelled; *room* and the reserve follow what is seen."""
    while True:
        with enduring("storekeeper"):
            await _look(data, room, hints, least, reserve)
        await asyncio.sleep(period)


async def _look(data: Path, room: Room, hints: Hints, least: LeastFree, reserve: int) -> None:
    shortage = await asyncio.to_thread(_kept, data, least, reserve)
    if shortage == room.shortage:
        return
    before, room.shortage = room.shortage, shortage
    if shortage and not before:
        log.error("storage.full", data=str(data), shortage=shortage)
    elif not shortage:
        log.info("storage.recovered", data=str(data))
        hints.work_made()


def _kept(data: Path, least: LeastFree, reserve: int) -> str:
    """Return what is short; make the reserve or give it back. Blocking; OSError."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / RESERVE_NAME
    figures = disk_figures(data)
    shortage = figures.shortage(least)
    there = path.exists()
    if shortage and there and figures.free < reserve:
        path.unlink()
        log.error("storage.reserve_released", bytes=reserve)
    elif reserve and not shortage and not there:
        _make(path, reserve)
    return shortage


def _make(path: Path, size: int) -> None:
    """Take *size* bytes of the disk, really: a file of holes would reserve nothing."""
    partial = path.with_suffix(".part")
    try:
        with partial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
