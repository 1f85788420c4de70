"""Schedules: from and to messages."""

from datetime import timedelta
from typing import Final

from phonefarm.v1 import process_pb2
from phonefarm.v1 import schedule_pb2 as pb
from phonefarm_common.reasons import FarmError, FieldProblem

from phonefarm_controller.model.errors import invalid, invalid_field
from phonefarm_controller.model.requests import Submission
from phonefarm_controller.model.schedules import (
    CatchUp,
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    submission_of,
)
from phonefarm_controller.processes.schedules import NewSchedule, ScheduleDetails, in_request
from phonefarm_controller.rpc import process_convert
from phonefarm_controller.rpc.wire import moment_to_wire, shown_url

_CATCH_UPS: Final = {
    pb.CATCH_UP_UNSPECIFIED: CatchUp.ONCE,
    pb.CATCH_UP_SKIP: CatchUp.SKIP,
    pb.CATCH_UP_ONCE: CatchUp.ONCE,
    pb.CATCH_UP_ALL: CatchUp.ALL,
}
_OVERLAPS: Final = {
    pb.OVERLAP_UNSPECIFIED: Overlap.SKIP,
    pb.OVERLAP_SKIP: Overlap.SKIP,
    pb.OVERLAP_ALLOW: Overlap.ALLOW,
}
_CATCH_UPS_TO_WIRE: Final = {word: number for number, word in _CATCH_UPS.items() if number}
_OVERLAPS_TO_WIRE: Final = {word: number for number, word in _OVERLAPS.items() if number}
_OUTCOMES: Final = {
    FiringOutcome.ENQUEUED: pb.FIRING_OUTCOME_ENQUEUED,
    FiringOutcome.MISSED: pb.FIRING_OUTCOME_MISSED,
    FiringOutcome.OVERLAPPED: pb.FIRING_OUTCOME_OVERLAPPED,
    FiringOutcome.REFUSED: pb.FIRING_OUTCOME_REFUSED,
}
_MODES: Final = {word: number for number, word in process_convert.MODES.items()}
_ROUTINGS: Final = {word: number for number, word in process_convert.ROUTINGS.items()}
_ANY_ID: Final = "schedule"
"""Each firing has its own."""


def new_schedule(request: pb.AddScheduleRequest, *, caller: str) -> NewSchedule:
    """Return what is asked for; FarmError names the wrong fields of its request."""
    catch_up, overlap = _CATCH_UPS.get(request.catch_up), _OVERLAPS.get(request.overlap)
    if catch_up is None:
        raise invalid_field("catch_up", f"must be one of {', '.join(CatchUp)}")
    if overlap is None:
        raise invalid_field("overlap", f"must be one of {', '.join(Overlap)}")
    return NewSchedule(
        name=request.name,
        expression=request.cron,
        zone=request.zone,
        jitter=timedelta(seconds=request.jitter_seconds),
        catch_up=catch_up,
        overlap=overlap,
        start_within=timedelta(seconds=request.start_within_seconds)
        if request.HasField("start_within_seconds")
        else None,
        submission=_submission(request.request, caller=caller),
        actor=caller,
        reason=request.reason,
    )


def _submission(request: process_pb2.EnqueueRequest, *, caller: str) -> Submission:
    given = {
        "request_id": bool(request.request_id),
        "not_before": request.HasField("not_before"),
        "deadline": request.HasField("deadline"),
        "dry_run": request.dry_run,
    }
    own = [
        FieldProblem(field=f"request.{name}", message="is not allowed in the request of a schedule")
        for name, is_given in given.items()
        if is_given
    ]
    if own:
        raise invalid(*own)
    each = process_pb2.EnqueueRequest()
    each.CopyFrom(request)
    each.request_id = _ANY_ID
    try:
        return process_convert.submission_of(each, caller=caller)
    except FarmError as error:
        raise in_request(error) from error


def schedule_to_wire(schedule: Schedule) -> pb.Schedule:
    """Return the schedule."""
    within = schedule.start_within
    return pb.Schedule(
        schedule_id=schedule.schedule_id,
        name=schedule.name,
        cron=schedule.cron.expression,
        zone=schedule.cron.zone,
        jitter_seconds=int(schedule.jitter.total_seconds()),
        catch_up=_CATCH_UPS_TO_WIRE[schedule.catch_up],
        overlap=_OVERLAPS_TO_WIRE[schedule.overlap],
        start_within_seconds=None if within is None else int(within.total_seconds()),
        request=_request_to_wire(submission_of(schedule, schedule.created_at)),
        paused=schedule.paused,
        next_at=moment_to_wire(schedule.next_at),
        due_at=moment_to_wire(schedule.due_at),
        last_process_id=schedule.last_process_id or "",
        problem=schedule.problem,
        created_at=moment_to_wire(schedule.created_at),
        created_by=schedule.created_by,
    )


def details_to_wire(details: ScheduleDetails) -> pb.ScheduleDetails:
    """Return the schedule, its next instants and its firings."""
    return pb.ScheduleDetails(
        schedule=schedule_to_wire(details.schedule),
        next_runs=[
            pb.NextRun(instant=moment_to_wire(instant), due_at=moment_to_wire(due_at))
            for instant, due_at in details.next_runs
        ],
        firings=[_firing_to_wire(firing) for firing in details.firings],
    )


def _request_to_wire(submission: Submission) -> process_pb2.EnqueueRequest:
    target = submission.target
    url = submission.callback_url
    return process_pb2.EnqueueRequest(
        capability=submission.capability,
        mode=_MODES[submission.mode],
        target=process_pb2.Target(
            routing=_ROUTINGS[target.routing],
            phone_id=target.phone_id or "",
            account_id=target.account_id or "",
            phone_group=target.phone_group or "",
            account_group=target.account_group or "",
            phone_ids=target.phone_ids,
            account_ids=target.account_ids,
        ),
        inputs_json=submission.inputs_json,
        callback=None
        if url is None
        else process_pb2.Callback(url=shown_url(url), metadata_json=submission.callback_metadata),
        requested_by=process_pb2.RequestedBy(
            system=submission.system,
            user=submission.user,
            metadata_json=submission.requested_by_metadata,
        ),
        priority=submission.priority,
    )


def _firing_to_wire(firing: Firing) -> pb.Firing:
    return pb.Firing(
        instant=moment_to_wire(firing.instant),
        at=moment_to_wire(firing.at),
        outcome=_OUTCOMES[firing.outcome],
        process_id=firing.process_id or "",
        reason=firing.reason,
        message=firing.message,
    )
