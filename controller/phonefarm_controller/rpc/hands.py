"""HandsService: read the wire, call one operation, write the wire."""

from phonefarm.v1 import fleet_pb2, hands_pb2_grpc
from phonefarm.v1 import hands_pb2 as pb

from phonefarm_controller.domain.scopes import Scope
from phonefarm_controller.operations.draining import Drain
from phonefarm_controller.operations.releasing import Release
from phonefarm_controller.rpc.context import Context
from phonefarm_controller.rpc.credentials import Keys
from phonefarm_controller.rpc.fleet import agent_to_wire, phone_to_wire
from phonefarm_controller.rpc.status import translated


class HandsEdge(hands_pb2_grpc.HandsServiceServicer):
    """Serves operators."""

    def __init__(self, *, keys: Keys, release: Release, drain: Drain) -> None:
        self._keys = keys
        self._release = release
        self._drain = drain

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

    async def DrainPhone(  # noqa: N802
        self, request: pb.DrainPhoneRequest, context: Context
    ) -> fleet_pb2.Phone:
        """Give a phone no more work."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._drain.phone(
                request.phone_id, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)

    async def DrainAgent(  # noqa: N802
        self, request: pb.DrainAgentRequest, context: Context
    ) -> fleet_pb2.Agent:
        """Give the phones of a host no more work."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            agent = await self._drain.agent(
                request.agent_id, actor=caller.name, reason=request.reason
            )
        return agent_to_wire(agent)

    async def UndrainAgent(  # noqa: N802
        self, request: pb.UndrainAgentRequest, context: Context
    ) -> pb.UndrainAgentResponse:
        """Give the phones of a host work again."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            undrained = await self._drain.undrain(
                request.agent_id, actor=caller.name, reason=request.reason
            )
        return pb.UndrainAgentResponse(undrained=undrained)
