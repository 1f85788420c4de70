"""ScheduleService: recurring work."""

from typing import Final

import grpc.aio
from phonefarm.schemas import process_record, schedules
from phonefarm.v1 import process_pb2, schedule_pb2_grpc
from phonefarm.v1 import schedule_pb2 as pb

from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import json_object, moment, work_request

_CATCH_UPS: Final = {
    "skip": pb.CATCH_UP_SKIP,
    "once": pb.CATCH_UP_ONCE,
    "all": pb.CATCH_UP_ALL,
}
_OVERLAPS: Final = {"skip": pb.OVERLAP_SKIP, "allow": pb.OVERLAP_ALLOW}
_CATCH_UP_WORDS: Final = {number: word for word, number in _CATCH_UPS.items()}
_OVERLAP_WORDS: Final = {number: word for word, number in _OVERLAPS.items()}
_OUTCOME_WORDS: Final = {
    pb.FIRING_OUTCOME_ENQUEUED: "enqueued",
    pb.FIRING_OUTCOME_MISSED: "missed",
    pb.FIRING_OUTCOME_OVERLAPPED: "overlapped",
    pb.FIRING_OUTCOME_REFUSED: "refused",
}
_MODE_WORDS: Final = {
    process_pb2.MODE_MANUAL: "manual",
    process_pb2.MODE_UNATTENDED: "unattended",
}
_ROUTING_WORDS: Final = {
    process_pb2.ROUTING_DIRECT: "direct",
    process_pb2.ROUTING_QUEUE: "queue",
    process_pb2.ROUTING_GROUP: "group",
}


class ScheduleClient:
    """Adds, reads, pauses and deletes schedules."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = schedule_pb2_grpc.ScheduleServiceStub(channel)
        self._rpc = rpc

    async def add(self, key: str | None, body: schedules.AddSchedule) -> schedules.Schedule:
        """Add a schedule."""
        request = pb.AddScheduleRequest(
            name=body.name,
            cron=body.cron,
            zone=body.zone,
            jitter_seconds=body.jitter_seconds,
            catch_up=_CATCH_UPS[body.catch_up],
            overlap=_OVERLAPS[body.overlap],
            start_within_seconds=body.start_within_seconds,
            request=work_request(body.request),
            reason=body.reason,
        )
        return _schedule(await self._rpc.call(self._stub.AddSchedule, request, key=key))

    async def all(self, key: str | None) -> schedules.ScheduleList:
        """Return every schedule."""
        request = pb.ListSchedulesRequest()
        answer = await self._rpc.call(self._stub.ListSchedules, request, key=key)
        return schedules.ScheduleList(schedules=tuple(_schedule(one) for one in answer.schedules))

    async def get(
        self, key: str | None, name: str, *, next_count: int
    ) -> schedules.ScheduleDetails:
        """Return a schedule, its next instants and its firings."""
        request = pb.GetScheduleRequest(name=name, next_count=next_count)
        answer = await self._rpc.call(self._stub.GetSchedule, request, key=key)
        return schedules.ScheduleDetails(
            schedule=_schedule(answer.schedule),
            next_runs=tuple(
                schedules.NextRun(instant=moment(run.instant), due_at=moment(run.due_at))
                for run in answer.next_runs
            ),
            firings=tuple(_firing(firing) for firing in answer.firings),
        )

    async def pause(self, key: str | None, name: str, reason: str) -> schedules.Schedule:
        """Let nothing fire."""
        request = pb.PauseScheduleRequest(name=name, reason=reason)
        return _schedule(await self._rpc.call(self._stub.PauseSchedule, request, key=key))

    async def resume(self, key: str | None, name: str, reason: str) -> schedules.Schedule:
        """Let it fire again."""
        request = pb.ResumeScheduleRequest(name=name, reason=reason)
        return _schedule(await self._rpc.call(self._stub.ResumeSchedule, request, key=key))

    async def delete(self, key: str | None, name: str, reason: str) -> schedules.ScheduleDeleted:
        """Delete a schedule."""
        request = pb.DeleteScheduleRequest(name=name, reason=reason)
        await self._rpc.call(self._stub.DeleteSchedule, request, key=key)
        return schedules.ScheduleDeleted(name=name)


def _schedule(message: pb.Schedule) -> schedules.Schedule:
    within = message.start_within_seconds if message.HasField("start_within_seconds") else None
    return schedules.Schedule(
        schedule_id=message.schedule_id,
        name=message.name,
        cron=message.cron,
        zone=message.zone,
        jitter_seconds=message.jitter_seconds,
        catch_up=_CATCH_UP_WORDS.get(message.catch_up, str(message.catch_up)),
        overlap=_OVERLAP_WORDS.get(message.overlap, str(message.overlap)),
        start_within_seconds=within,
        request=_work(message.request),
        paused=message.paused,
        next_at=moment(message.next_at),
        due_at=moment(message.due_at),
        last_process_id=message.last_process_id or None,
        problem=message.problem,
        created_at=moment(message.created_at),
        created_by=message.created_by,
    )


def _work(request: process_pb2.EnqueueRequest) -> schedules.ScheduledWork:
    target, who = request.target, request.requested_by
    named = {
        "routing": _ROUTING_WORDS.get(target.routing, str(target.routing)),
        "phone_id": target.phone_id,
        "account_id": target.account_id,
        "phone_group": target.phone_group,
        "account_group": target.account_group,
        "phone_ids": list(target.phone_ids),
        "account_ids": list(target.account_ids),
    }
    return schedules.ScheduledWork(
        capability=request.capability,
        mode=_MODE_WORDS.get(request.mode, str(request.mode)),
        target={name: value for name, value in named.items() if value},
        inputs=json_object(request.inputs_json),
        callback=process_record.RecordCallback(
            url=request.callback.url, metadata=json_object(request.callback.metadata_json)
        )
        if request.HasField("callback")
        else None,
        requested_by=process_record.RecordRequestedBy(
            system=who.system,
            user=who.user if who.HasField("user") else None,
            metadata=json_object(who.metadata_json),
        ),
        priority=request.priority,
    )


def _firing(message: pb.Firing) -> schedules.Firing:
    return schedules.Firing(
        instant=moment(message.instant),
        at=moment(message.at),
        outcome=_OUTCOME_WORDS.get(message.outcome, str(message.outcome)),
        process_id=message.process_id or None,
        reason=message.reason,
        message=message.message,
    )
