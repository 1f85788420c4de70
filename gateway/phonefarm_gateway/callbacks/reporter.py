"""Telling the controller how attempts went: in batches as they come, again until it has heard."""

import asyncio
from typing import Final

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.clock import Clock
from phonefarm_common.reasons import Reason

from phonefarm_gateway.client import ControllerClient, RefusedError
from phonefarm_gateway.delivery import AttemptReport

MOST_REPORTS: Final = 100
_PASSING: Final = frozenset(
    {
        Reason.CONTROLLER_UNAVAILABLE,
        Reason.INTERNAL,
        Reason.STORAGE_FULL,
        Reason.GATEWAY_TOKEN_REFUSED,
    }
)
_log = structlog.get_logger()


class Reporter:
    """A bounded queue with one teller."""

    def __init__(
        self, controller: ControllerClient, *, held: int, lease: float, clock: Clock
    ) -> None:
        self._controller = controller
        self._lease = lease
        self._clock = clock
        self._queue: asyncio.Queue[AttemptReport] = asyncio.Queue(held)

    async def add(self, report: AttemptReport) -> None:
        """Hand over *report*, waiting while too many wait already."""
        await self._queue.put(report)

    def add_if_room(self, report: AttemptReport) -> bool:
        """Hand over *report* without waiting; False when there was no room."""
        try:
            self._queue.put_nowait(report)
        except asyncio.QueueFull:
            return False
        return True

    async def report_forever(self) -> None:
        """Tell what is handed over, until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MOST_REPORTS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._report(batch)
            for _ in batch:
                self._queue.task_done()

    async def flushed(self) -> None:
        """Return when everything handed over has been told or given up."""
        await self._queue.join()

    async def _report(self, batch: list[AttemptReport]) -> None:
        """Repeat until the controller has heard, or has surely lent them to someone else."""
        give_up_at = self._clock.monotonic() + self._lease
        failures = 0
        while True:
            try:
                taken = await self._controller.deliveries.report(batch)
            except RefusedError as refused:
                failures += 1
                lasting = refused.reason not in _PASSING
                if lasting or self._clock.monotonic() >= give_up_at:
                    _log.error("reports.dropped", reports=len(batch), error=str(refused))
                    return
                await asyncio.sleep(backoff(failures, first=0.2, factor=2, most=3))
                continue
            if taken < len(batch):
                _log.warning("reports.arrived_late", reports=len(batch), taken=taken)
            return
