"""Watches the disk of the state directory: while it is full, the agent starts no runs.

A reserve is kept for journal and evidence of what runs, and given back when all else is used up.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog
from phonefarm_common.disk_space import RequiredFree, check_disk_space

from phonefarm_agent.model.host import IncidentKind, Incidents

log = structlog.get_logger()

PERIOD_SECONDS = 5.0
FULL = "host_storage_full"


class DiskGuard:
    """Checks the free space; `problem` says why no new work may begin, empty for none."""

    def __init__(
        self,
        folder: Path,
        *,
        required: RequiredFree,
        reserve: int,
        period: float,
        incidents: Incidents,
        changed: Callable[[], None],
    ) -> None:
        self.problem = ""
        self._folder = folder
        self._required = required
        # A disk at its limit must not be now full, now not.
        self._required_again = replace(
            required, share=1.1 * required.share, size=int(1.1 * required.size)
        )
        self._reserve = reserve
        self._period = period
        self._incidents = incidents
        self._changed = changed

    async def check(self) -> None:
        """Check the disk once; if it cannot be read, `problem` stays as it was."""
        required = self._required_again if self.problem else self._required
        try:
            shortage = await asyncio.to_thread(
                check_disk_space, self._folder, required, self._reserve
            )
        except OSError as error:
            log.warning("storage.not_read", folder=str(self._folder), error=str(error))
        else:
            self._set_shortage(shortage)

    async def run(self) -> None:
        """Check the disk every period, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            await self.check()

    def _set_shortage(self, shortage: str) -> None:
        # How much is short changes all the time; that it is does not.
        if bool(shortage) == bool(self.problem):
            return
        self.problem = f"{FULL}:{shortage}" if shortage else ""
        self._incidents.update(IncidentKind.STORAGE_FULL, shortage)
        self._changed()
