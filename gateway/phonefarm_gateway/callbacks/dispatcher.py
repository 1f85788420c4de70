"""Dispatches callbacks: leases deliveries, sends each once its receiver has a slot, reports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.clock import Clock
from phonefarm_common.wire_enums import DeliveryOutcome

from phonefarm_gateway.callbacks.limits import CallbackLimits
from phonefarm_gateway.callbacks.receiver_limits import ReceiverBusyError, ReceiverLimits
from phonefarm_gateway.callbacks.reporter import Reporter
from phonefarm_gateway.callbacks.sender import Sender
from phonefarm_gateway.client import ControllerClient, RefusedError
from phonefarm_gateway.delivery import Attempt, Delivery

_log = structlog.get_logger()


@asynccontextmanager
async def running_dispatcher(
    controller: ControllerClient, sender: Sender, *, limits: CallbackLimits, clock: Clock
) -> AsyncIterator[None]:
    """Send due deliveries while the block runs; then finish the attempts under way.

    Attempts that last longer than `limits.stop` are cancelled and reported as failed, so that no
    other gateway has to wait for their leases to expire.
    """
    reports = Reporter(controller, held=limits.held, lease=limits.lease, clock=clock)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as owner:
        dispatch = _Dispatcher(controller, sender, reports, owner, limits=limits, clock=clock)
        reporting = owner.create_task(reports.report_forever(), name="reports")
        leasing = owner.create_task(dispatch.lease_forever(), name="leasing")
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group
            failure = error
        finally:
            leasing.cancel()
            await dispatch.finish()
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.stop):
                    await reports.flushed()
            reporting.cancel()
    if failure is not None:
        # Raised outside the group, which would wrap it.
        raise failure


class _Dispatcher:
    """Holds the deliveries that are leased and not yet reported."""

    def __init__(
        self,
        controller: ControllerClient,
        sender: Sender,
        reports: Reporter,
        owner: asyncio.TaskGroup,
        *,
        limits: CallbackLimits,
        clock: Clock,
    ) -> None:
        self._controller = controller
        self._sender = sender
        self._reports = reports
        self._owner = owner
        self._limits = limits
        self._clock = clock
        self._receivers = ReceiverLimits(
            per_receiver=limits.per_receiver, patience=limits.patience, clock=clock
        )
        self._held: set[asyncio.Task[None]] = set()

    async def lease_forever(self) -> None:
        """Lease due deliveries up to the limit; back off while the controller is away."""
        failures = 0
        batch = self._limits.batch
        while True:
            if len(self._held) >= self._limits.held:
                await asyncio.wait(self._held, return_when=asyncio.FIRST_COMPLETED)
                continue
            room = min(batch, self._limits.held - len(self._held))
            try:
                due, unreadable = await self._controller.deliveries.lease(
                    limit=room, wait_seconds=self._limits.poll
                )
            except RefusedError as refused:
                failures += 1
                # The answer may have been too large for one message: a smaller one may pass.
                batch = 1
                _log.warning("deliveries.lease_failed", error=str(refused), failures=failures)
                await asyncio.sleep(backoff(failures, first=0.2, factor=2, most=5))
                continue
            failures = 0
            batch = min(batch * 2, self._limits.batch)
            for report in unreadable:
                await self._reports.add(report)
            leased_at = self._clock.monotonic()
            for delivery in due:
                task = self._owner.create_task(self._deliver(delivery, leased_at))
                self._held.add(task)
                task.add_done_callback(self._held.discard)

    async def finish(self) -> None:
        """Wait at most `limits.stop` for the attempts under way, then cancel them."""
        if not self._held:
            return
        _, late = await asyncio.wait(self._held, timeout=self._limits.stop)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _deliver(self, delivery: Delivery, leased_at: float) -> None:
        began = self._clock.monotonic()
        attempt = None
        try:
            async with self._receivers.slot(delivery.url):
                # After a freeze the lease may have expired, and another gateway may have it.
                if self._clock.monotonic() - leased_at < self._limits.lease - self._limits.attempt:
                    attempt = await self._sender.send(delivery)
        except ReceiverBusyError:
            pass
        except asyncio.CancelledError:
            attempt = Attempt(
                outcome=DeliveryOutcome.FAILED,
                error="the gateway stopped before the receiver answered",
            )
            self._reports.add_if_room(attempt.report(delivery.delivery_id, delivery.lease_token))
            raise
        except Exception:  # noqa: BLE001 - logged and reported; the next line says why
            # A failure in one delivery must not end the others.
            _log.exception("delivery.crashed", delivery_id=delivery.delivery_id)
            attempt = Attempt(
                outcome=DeliveryOutcome.FAILED,
                error="the gateway failed; its log contains the cause",
            )
        if attempt is not None:
            await self._reports.add(attempt.report(delivery.delivery_id, delivery.lease_token))
        failed = attempt is not None and attempt.outcome is DeliveryOutcome.FAILED
        (_log.warning if failed else _log.info)(
            "delivery.attempted" if attempt else "delivery.skipped",
            process_id=delivery.process_id,
            delivery_id=delivery.delivery_id,
            milestone=delivery.milestone,
            sequence=delivery.sequence,
            trace_id=delivery.trace and delivery.trace.trace_id,
            attempt=delivery.attempt,
            outcome=attempt and str(attempt.outcome),
            status=attempt and attempt.http_status,
            error=(attempt and attempt.error) or None,
            seconds=round(self._clock.monotonic() - began, 3),
        )
