"""HandsService: read the wire, call one operation, write the wire."""

from phonefarm.v1 import fleet_pb2, hands_pb2_grpc
from phonefarm.v1 import hands_pb2 as pb

from phonefarm_controller.domain.scopes import Scope
from phonefarm_controller.operations.releasing import Release
from phonefarm_controller.rpc.context import Context
from phonefarm_controller.rpc.credentials import Keys
from phonefarm_controller.rpc.fleet import phone_to_wire
from phonefarm_controller.rpc.status import translated


class HandsEdge(hands_pb2_grpc.HandsServiceServicer):
    """Serves operators."""

    def __init__(self, *, keys: Keys, release: Release) -> None:
        self._keys = keys
        self._release = release

    async def ReleasePhone(  # noqa: N802 - the wire's name
        self, request: pb.ReleasePhoneRequest, context: Context
    ) -> fleet_pb2.Phone:
        """Take a phone from its run."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._release(
                request.phone_id, epoch=request.epoch, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)
