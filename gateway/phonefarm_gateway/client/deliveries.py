"""CallbackService: leases deliveries for this gateway and reports its attempts."""

from collections.abc import Callable, Sequence

import grpc.aio
import structlog
from phonefarm.v1 import callback_pb2 as pb
from phonefarm.v1 import callback_pb2_grpc
from phonefarm_common.wire_enums import DeliveryOutcome

from phonefarm_gateway.client import convert
from phonefarm_gateway.client.calls import CALL_SECONDS, RpcCaller
from phonefarm_gateway.delivery import Attempt, AttemptReport, Delivery

_log = structlog.get_logger()


class DeliveryClient:
    """Leases deliveries and reports attempts."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        rpc: RpcCaller,
        *,
        gateway_id: str,
        signs: bool,
        observe: Callable[[AttemptReport], None] | None = None,
    ) -> None:
        self._stub = callback_pb2_grpc.CallbackServiceStub(channel)
        self._rpc = rpc
        self._gateway_id = gateway_id
        self._signs = signs
        self._observe = observe

    async def lease(
        self, *, limit: int, wait_seconds: float
    ) -> tuple[list[Delivery], list[AttemptReport]]:
        """Return due deliveries, after waiting for the first, and reports on unreadable ones."""
        request = pb.LeaseDeliveriesRequest(
            gateway_id=self._gateway_id,
            limit=limit,
            wait_seconds=wait_seconds,
            signs=self._signs,
        )
        answer = await self._rpc.call(
            self._stub.LeaseDeliveries,
            request,
            key=None,
            seconds=wait_seconds + CALL_SECONDS,
        )
        readable, unreadable = [], []
        for leased in answer.deliveries:
            try:
                readable.append(convert.delivery(leased))
            except ValueError as error:
                # One unreadable record must not stop the others, and must be reported as failed.
                _log.error("delivery.read_failed", delivery_id=leased.delivery_id, exc_info=error)
                attempt = Attempt(
                    outcome=DeliveryOutcome.FAILED, error="the gateway cannot read the record"
                )
                unreadable.append(attempt.report(leased.delivery_id, leased.lease_token))
        return readable, unreadable

    async def report(self, reports: Sequence[AttemptReport]) -> int:
        """Report attempts; return how many the controller took (it takes none whose lease is lost).

        Without reports, an answer shows that the controller knows this gateway.
        """
        request = pb.ReportDeliveriesRequest(
            gateway_id=self._gateway_id, reports=[convert.report(one) for one in reports]
        )
        answer = await self._rpc.call(self._stub.ReportDeliveries, request, key=None)
        if self._observe is not None:
            for one in reports:
                self._observe(one)
        return len(answer.settled_delivery_ids)
