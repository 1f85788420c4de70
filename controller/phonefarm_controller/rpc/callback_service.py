"""CallbackService: lease deliveries to gateways, take their reports."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Final

from phonefarm.v1 import callback_pb2 as pb
from phonefarm.v1 import callback_pb2_grpc
from phonefarm_common.trace_context import read_traceparent, span_of_process
from phonefarm_common.tracing import Tracer
from phonefarm_common.wire_enums import DeliveryOutcome

from phonefarm_controller.callbacks.delivery import CallbackDelivery, DeliveryReport
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.rpc.auth import gateway_name
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.process_convert import process_to_wire
from phonefarm_controller.rpc.wire import moment_to_wire
from phonefarm_controller.store.deliveries import Delivery

MOST_LEASED: Final = 100
LONGEST_GATEWAY_ID: Final = 128
MOST_WAIT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 5.0
"""If the hint for a delivery is lost, the delivery is noticed at most this late."""

_OUTCOMES: Final = {
    pb.DELIVERY_OUTCOME_DELIVERED: DeliveryOutcome.DELIVERED,
    pb.DELIVERY_OUTCOME_FAILED: DeliveryOutcome.FAILED,
    pb.DELIVERY_OUTCOME_GONE: DeliveryOutcome.GONE,
}


class CallbackService(callback_pb2_grpc.CallbackServiceServicer):
    """Serves gateways."""

    def __init__(
        self,
        *,
        deliver: CallbackDelivery,
        wakeups: WakeUps,
        gateway_calls: GatewayCalls,
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._deliver = deliver
        self._wakeups = wakeups
        self._gateway_calls = gateway_calls

    async def LeaseDeliveries(  # noqa: N802 - the wire's name
        self, request: pb.LeaseDeliveriesRequest, context: Context
    ) -> pb.LeaseDeliveriesResponse:
        """Hand out due deliveries, waiting for the first."""
        if not 1 <= request.limit <= MOST_LEASED:
            raise invalid_field("limit", f"must be between 1 and {MOST_LEASED}")
        if len(request.gateway_id) > LONGEST_GATEWAY_ID:
            message = f"must have at most {LONGEST_GATEWAY_ID} characters"
            raise invalid_field("gateway_id", message)
        self._gateway_calls.accept(
            request.gateway_id,
            name=gateway_name(context),
            signs=request.signs if request.HasField("signs") else None,
        )
        until = time.monotonic() + min(max(request.wait_seconds, 0.0), MOST_WAIT_SECONDS)
        with self._wakeups.delivery_event() as heard:
            lent = await self._lease(request)
            while not lent and (left := until - time.monotonic()) > 0:
                due = await self._deliver.seconds_until_due()
                wait = min(left, POLL_SECONDS if due is None else max(due, 0.01), POLL_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await heard.wait()
                heard.clear()
                lent = await self._lease(request)
        return pb.LeaseDeliveriesResponse(
            deliveries=[_to_wire(each, traced=self._tracer.is_on) for each in lent]
        )

    async def _lease(self, request: pb.LeaseDeliveriesRequest) -> list[Delivery]:
        return await self._deliver.lease(limit=request.limit, gateway_id=request.gateway_id)

    async def ReportDeliveries(  # noqa: N802
        self, request: pb.ReportDeliveriesRequest, context: Context
    ) -> pb.ReportDeliveriesResponse:
        """Settle attempts."""
        reports = [_report(report) for report in request.reports]
        settled = await self._deliver.settle(reports) if reports else []
        return pb.ReportDeliveriesResponse(settled_delivery_ids=settled)


def _report(report: pb.DeliveryReport) -> DeliveryReport:
    outcome = _OUTCOMES.get(report.outcome)
    if outcome is None:
        raise invalid_field("reports.outcome", "must be delivered, failed or gone")
    return DeliveryReport(
        delivery_id=report.delivery_id,
        lease_token=report.lease_token,
        outcome=outcome,
        http_status=report.http_status,
        error=report.error[:500],
        retry_after_seconds=max(0.0, report.retry_after_seconds),
    )


def _to_wire(delivery: Delivery, *, traced: bool) -> pb.Delivery:
    return pb.Delivery(
        delivery_id=delivery.delivery_id,
        process_id=delivery.process_id,
        sequence=delivery.sequence,
        milestone=delivery.milestone,
        emitted_at=moment_to_wire(delivery.emitted_at),
        url=delivery.url,
        attempt=delivery.attempts,
        lease_token=delivery.lease_token or "",
        process=process_to_wire(delivery.record) if delivery.process_id else None,
        traceparent=_traceparent(delivery, traced=traced),
        event_json="" if delivery.process_id else json.dumps(delivery.record),
    )


def _traceparent(delivery: Delivery, *, traced: bool) -> str:
    """Return the span that the attempt belongs to: that of the process, if there will be one.

    Otherwise the one in which the process was requested. Empty when the process has no trace.
    """
    # Records that were made before 0.2.0 lack it.
    requested_in = read_traceparent(delivery.record.get("traceparent"))
    if requested_in is None:
        return ""
    if traced:
        return span_of_process(delivery.process_id, requested_in).traceparent
    return requested_in.traceparent
