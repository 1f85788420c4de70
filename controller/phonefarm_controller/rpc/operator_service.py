"""OperatorService: read the wire, call one operation, write the wire."""

from phonefarm.v1 import fleet_pb2, operator_pb2_grpc
from phonefarm.v1 import operator_pb2 as pb
from phonefarm_common.ids import is_uuid
from phonefarm_common.trace_context import current_traceparent

from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.fleet.force_release import ForceRelease
from phonefarm_controller.fleet.hold import Hold, HoldView
from phonefarm_controller.housekeeping.backup import Backup
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.processes.rerun import RerunProcess, RerunRequest
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.fleet_convert import agent_to_wire, phone_to_wire
from phonefarm_controller.rpc.wire import moment_to_wire


class OperatorService(operator_pb2_grpc.OperatorServiceServicer):
    """Serves operators."""

    def __init__(
        self,
        *,
        release: ForceRelease,
        drain: Drain,
        reruns: RerunProcess,
        backup: Backup,
        hold: Hold,
    ) -> None:
        self._hold = hold
        self._backup = backup
        self._reruns = reruns
        self._release = release
        self._drain = drain

    async def ReleasePhone(  # noqa: N802 - the wire's name
        self, request: pb.ReleasePhoneRequest, context: Context
    ) -> fleet_pb2.Phone:
        """Take a phone from its run."""
        view = await self._release(
            request.phone_id, epoch=request.epoch, actor=caller().name, reason=request.reason
        )
        return phone_to_wire(view)

    async def DrainPhone(  # noqa: N802
        self, request: pb.DrainPhoneRequest, context: Context
    ) -> fleet_pb2.Phone:
        """Give a phone no more work."""
        view = await self._drain.phone(request.phone_id, actor=caller().name, reason=request.reason)
        return phone_to_wire(view)

    async def DrainAgent(  # noqa: N802
        self, request: pb.DrainAgentRequest, context: Context
    ) -> fleet_pb2.Agent:
        """Give the phones of a host no more work."""
        agent = await self._drain.agent(
            request.agent_id, actor=caller().name, reason=request.reason
        )
        return agent_to_wire(agent)

    async def UndrainAgent(  # noqa: N802
        self, request: pb.UndrainAgentRequest, context: Context
    ) -> pb.UndrainAgentResponse:
        """Give the phones of a host work again."""
        undrained = await self._drain.undrain(
            request.agent_id, actor=caller().name, reason=request.reason
        )
        return pb.UndrainAgentResponse(undrained=undrained)

    async def RerunProcess(  # noqa: N802
        self, request: pb.RerunProcessRequest, context: Context
    ) -> pb.RerunProcessResponse:
        """Repeat the request of a process that has ended."""
        if not is_uuid(request.process_id):
            raise unknown_process(request.process_id)
        made = await self._reruns(
            RerunRequest(
                process_id=request.process_id.lower(),
                failed_only=request.failed_only,
                not_posted=request.not_posted,
                reason=request.reason,
                caller=caller().name,
                traceparent=current_traceparent(),
            )
        )
        return pb.RerunProcessResponse(
            process_id=made.process_id,
            request_id=made.request_id,
            items=made.items,
            already=made.already,
        )

    # The stubs only know generators; a coroutine gets its cancellation in the call's own task.
    async def Backup(  # type: ignore[override] # noqa: N802
        self, request: pb.BackupRequest, context: Context
    ) -> None:
        """Send a copy of the database."""
        async with self._backup.taken(actor=caller().name, reason=request.reason) as copy:
            head = pb.BackupHead(
                taken_at=moment_to_wire(copy.taken_at),
                bytes=copy.size,
                sha256=copy.sha256,
            )
            await context.write(pb.BackupPart(head=head))
            while data := await copy.chunk():
                await context.write(pb.BackupPart(data=data))

    async def HoldPhone(  # noqa: N802
        self, request: pb.HoldPhoneRequest, context: Context
    ) -> pb.Hold:
        """Hold a phone for a person."""
        process_id = await self._hold.hold(
            request.phone_id,
            seconds=request.seconds,
            wait=request.wait_seconds,
            actor=caller().name,
            reason=request.reason,
        )
        view = await self._hold.get(process_id)
        return _hold(view)

    async def GetHold(  # noqa: N802
        self, request: pb.GetHoldRequest, context: Context
    ) -> pb.Hold:
        """Return a hold."""
        view = await self._hold.get(request.process_id)
        return _hold(view)

    async def UnholdPhone(  # noqa: N802
        self, request: pb.UnholdPhoneRequest, context: Context
    ) -> pb.Hold:
        """End a hold."""
        view = await self._hold.unhold(request.phone_id, actor=caller().name, reason=request.reason)
        return _hold(view)


def _hold(view: HoldView) -> pb.Hold:
    return pb.Hold(
        process_id=view.process_id,
        phone_id=view.phone_id,
        agent_id=view.agent_id,
        state=view.state,
        address=view.address,
        until=moment_to_wire(view.until),
        why=view.why,
    )
