"""ScheduleService: recurring work."""

from typing import Final

from phonefarm.v1 import schedule_pb2 as pb
from phonefarm.v1 import schedule_pb2_grpc

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.processes.schedules import MOST_NEXT, Schedules
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.schedule_convert import (
    details_to_wire,
    new_schedule,
    schedule_to_wire,
)

_NEXT: Final = 5


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """Serves operators."""

    def __init__(self, *, schedules: Schedules) -> None:
        self._schedules = schedules

    async def AddSchedule(  # noqa: N802 - the wire's name
        self, request: pb.AddScheduleRequest, context: Context
    ) -> pb.Schedule:
        """Add a schedule."""
        added = await self._schedules.add(new_schedule(request, caller=caller().name))
        return schedule_to_wire(added)

    async def ListSchedules(  # noqa: N802
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        """Return every schedule."""
        known = await self._schedules.all()
        return pb.ListSchedulesResponse(schedules=[schedule_to_wire(one) for one in known])

    async def GetSchedule(  # noqa: N802
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.ScheduleDetails:
        """Return a schedule, what comes next and what has come."""
        if not 0 <= request.next_count <= MOST_NEXT:
            raise invalid_field("next_count", f"must be between 0 and {MOST_NEXT}")
        details = await self._schedules.show(request.name, count=request.next_count or _NEXT)
        return details_to_wire(details)

    async def PauseSchedule(  # noqa: N802
        self, request: pb.PauseScheduleRequest, context: Context
    ) -> pb.Schedule:
        """Let nothing fire."""
        actor = caller().name
        paused = await self._schedules.pause(request.name, actor=actor, reason=request.reason)
        return schedule_to_wire(paused)

    async def ResumeSchedule(  # noqa: N802
        self, request: pb.ResumeScheduleRequest, context: Context
    ) -> pb.Schedule:
        """Let it fire again."""
        actor = caller().name
        resumed = await self._schedules.resume(request.name, actor=actor, reason=request.reason)
        return schedule_to_wire(resumed)

    async def DeleteSchedule(  # noqa: N802
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        """Delete a schedule."""
        await self._schedules.delete(request.name, actor=caller().name, reason=request.reason)
        return pb.DeleteScheduleResponse()
