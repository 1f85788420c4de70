"""Reports attempts to the controller in batches, until it answers or the leases expire."""

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
    """Queues reports, as many as deliveries may be leased, and sends them in order."""

    def __init__(
        self, controller: ControllerClient, *, held: int, lease: float, clock: Clock
    ) -> None:
        self._controller = controller
        self._lease = lease
        self._clock = clock
        self._queue: asyncio.Queue[AttemptReport] = asyncio.Queue(held)

    async def add(self, report: AttemptReport) -> None:
        """Queue *report*; wait while the queue is full."""
        await self._queue.put(report)

    def add_if_room(self, report: AttemptReport) -> bool:
        """Queue *report* without waiting; return False when the queue is full."""
        try:
            self._queue.put_nowait(report)
        except asyncio.QueueFull:
            return False
        return True

    async def report_forever(self) -> None:
        """Send queued reports in batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MOST_REPORTS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._report(batch)
            for _ in batch:
                self._queue.task_done()

    async def flushed(self) -> None:
        """Return when every queued report has been sent or dropped."""
        await self._queue.join()

    async def _report(self, batch: list[AttemptReport]) -> None:
        """Send the batch until the controller takes it or its leases have surely expired."""
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
