"""InspectService, the part about callbacks: their log, and their replay."""

from typing import Final

from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import inspect_pb2_grpc
from phonefarm_common.ids import is_uuid

from phonefarm_controller.callbacks.replay import LoggedDelivery, Replay
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.model.states import DELIVERY_SETTLED
from phonefarm_controller.model.times import micros
from phonefarm_controller.rpc.auth import Keys
from phonefarm_controller.rpc.errors import Context, translated
from phonefarm_controller.rpc.wire import timestamp

MOST_ATTEMPTS: Final = 20


class DeliveryLog(inspect_pb2_grpc.InspectServiceServicer):
    """Serves those who ask what was told to whom."""

    def __init__(self, *, keys: Keys, replay: Replay) -> None:
        self._keys = keys
        self._replay = replay

    async def ListDeliveries(  # noqa: N802 - the wire's name
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        """Return every delivery with its newest attempts."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            found = await self._replay.log(_process_id(request.process_id))
        return pb.ListDeliveriesResponse(deliveries=[_to_wire(logged) for logged in found])

    async def ReplayDeliveries(  # noqa: N802
        self, request: pb.ReplayDeliveriesRequest, context: Context
    ) -> pb.ReplayDeliveriesResponse:
        """Make settled ones due again."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            process_id = _process_id(request.process_id)
            sequences = await self._replay(process_id, set(request.sequences), actor=caller.name)
        return pb.ReplayDeliveriesResponse(sequences=sequences)


def _process_id(text: str) -> str:
    if not is_uuid(text):
        raise unknown_process(text)
    return text.lower()


def _to_wire(logged: LoggedDelivery) -> pb.DeliveryLine:
    delivery = logged.delivery
    line = pb.DeliveryLine(
        delivery_id=delivery.delivery_id,
        sequence=delivery.sequence,
        milestone=delivery.milestone,
        url=delivery.url,
        status=delivery.state,
        attempts=delivery.attempts,
        emitted_at=timestamp(micros(delivery.emitted_at) or 0),
        last_error=delivery.last_error or "",
        log=[
            pb.DeliveryAttempt(
                attempt=attempt.attempt,
                ended_at=timestamp(micros(attempt.ended_at) or 0),
                outcome=attempt.outcome,
                http_status=attempt.http_status,
                error=attempt.error,
                gateway_id=attempt.gateway_id,
            )
            for attempt in logged.log[-MOST_ATTEMPTS:]
        ],
    )
    if delivery.state not in DELIVERY_SETTLED:
        line.due_at.CopyFrom(timestamp(micros(delivery.due_at) or 0))
    settled = micros(delivery.settled_at)
    if settled is not None:
        line.settled_at.CopyFrom(timestamp(settled))
    return line
