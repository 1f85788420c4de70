"""Converts between the gateway's models and the messages of phonefarm.v1; decides nothing."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.schemas import acknowledgements, process_record, queries, requests, schedules
from phonefarm.v1 import callback_pb2, process_pb2
from phonefarm_common.trace_context import read_traceparent
from phonefarm_common.wire_enums import DeliveryOutcome

from phonefarm_gateway.delivery import AttemptReport, Delivery
from phonefarm_gateway.strict_json import dump

_MODES: Final = {
    "manual": process_pb2.MODE_MANUAL,
    "unattended": process_pb2.MODE_UNATTENDED,
}
_ROUTINGS: Final = {
    "direct": process_pb2.ROUTING_DIRECT,
    "queue": process_pb2.ROUTING_QUEUE,
    "group": process_pb2.ROUTING_GROUP,
}
_STRATEGIES: Final = {
    "soft": process_pb2.CANCEL_STRATEGY_SOFT,
    "hard": process_pb2.CANCEL_STRATEGY_HARD,
    "soft_then_force": process_pb2.CANCEL_STRATEGY_SOFT_THEN_FORCE,
}
_OUTCOMES: Final = {
    DeliveryOutcome.DELIVERED: callback_pb2.DELIVERY_OUTCOME_DELIVERED,
    DeliveryOutcome.FAILED: callback_pb2.DELIVERY_OUTCOME_FAILED,
    DeliveryOutcome.GONE: callback_pb2.DELIVERY_OUTCOME_GONE,
}


def enqueue_request(body: requests.Enqueue) -> process_pb2.EnqueueRequest:
    """Return the message of an enqueue; objects travel as JSON text, verbatim."""
    request = work_request(body)
    request.request_id = body.request_id
    if body.not_before is not None:
        request.not_before.FromDatetime(body.not_before)
    if body.deadline is not None:
        request.deadline.FromDatetime(body.deadline)
    request.dry_run = body.dry_run
    return request


def work_request(body: requests.Enqueue | schedules.ScheduledRequest) -> process_pb2.EnqueueRequest:
    """Return what the message of an enqueue and that of a schedule have in common."""
    target, who = body.target, body.requested_by
    return process_pb2.EnqueueRequest(
        capability=body.capability,
        mode=_MODES[body.mode],
        target=process_pb2.Target(
            routing=_ROUTINGS[target.routing],
            phone_id=target.phone_id or "",
            account_id=target.account_id or "",
            phone_group=target.phone_group or "",
            account_group=target.account_group or "",
            phone_ids=target.phone_ids or (),
            account_ids=target.account_ids or (),
        ),
        inputs_json=dump(body.inputs),
        callback=None
        if body.callback is None
        else process_pb2.Callback(
            url=body.callback.url, metadata_json=dump(body.callback.metadata)
        ),
        requested_by=process_pb2.RequestedBy(
            system=who.system, user=who.user, metadata_json=dump(who.metadata)
        ),
        priority=body.priority,
    )


def accepted(
    answer: process_pb2.EnqueueResponse,
) -> acknowledgements.Accepted | acknowledgements.Duplicate | acknowledgements.DryRun:
    """Return the controller's answer to an enqueue."""
    if not answer.process_id:
        return acknowledgements.DryRun(
            status="dry_run",
            process_id=None,
            request_id=answer.request_id,
            process_type=answer.process_type,
            items_planned=answer.items_planned,
        )
    if not answer.duplicate:
        return acknowledgements.Accepted(
            status="accepted",
            process_id=answer.process_id,
            request_id=answer.request_id,
            process_type=answer.process_type,
        )
    return acknowledgements.Duplicate(
        status="accepted",
        process_id=answer.process_id,
        request_id=answer.request_id,
        process_type=answer.process_type,
        duplicate=True,
        process_status=answer.process_status,
        request_differs=answer.request_differs,
    )


def list_request(wanted: queries.ProcessFilter) -> process_pb2.ListProcessesRequest:
    """Return the message that asks for one page."""
    return process_pb2.ListProcessesRequest(
        limit=wanted.limit,
        statuses=wanted.statuses,
        cursor=wanted.cursor or "",
        process_types=wanted.types,
        system=wanted.system or "",
        request_id=wanted.request_id or "",
        account_id=wanted.account_id or "",
        phone_id=wanted.phone_id or "",
        created_from=timestamp(wanted.created_from),
        created_before=timestamp(wanted.created_before),
    )


def cancel_request(process_id: str, body: requests.Cancel) -> process_pb2.CancelProcessRequest:
    """Return the message of a cancel."""
    return process_pb2.CancelProcessRequest(
        process_id=process_id,
        reason=body.reason,
        requested_by=requester(body.requested_by),
        strategy=_STRATEGIES[body.strategy],
        force_after_seconds=body.force_after_seconds,
    )


def requester(who: requests.RequestedBy) -> str:
    """Return who asks as one text, `system/user`."""
    return f"{who.system}/{who.user}" if who.user else who.system


def cancelled(answer: process_pb2.CancelProcessResponse) -> acknowledgements.Cancelled:
    """Return the controller's answer to a cancel."""
    is_ignored = answer.status == "ignored_terminal"
    return acknowledgements.Cancelled(
        status="ignored_terminal" if is_ignored else "cancel_requested",
        cancelled_queue_item_ids=tuple(answer.cancelled_queue_item_ids),
        active_queue_item_ids=tuple(answer.active_queue_item_ids),
        active_target=acknowledgements.ActiveTarget(
            process_id=answer.process_id,
            phone_id=answer.active_phone_id or None,
            account_id=answer.active_account_id or None,
            queue_item_id=answer.active_queue_item_id or None,
            capability_request_id=answer.process_id,
        ),
        termination=acknowledgements.Termination(
            process_id=answer.process_id,
            status=answer.termination_status,
            terminate_issued=answer.terminate_issued,
            container=answer.container or None,
        ),
        process=acknowledgements.CancelledProcess(
            process_id=answer.process_id, status=answer.process_status
        ),
    )


def record(process: process_pb2.Process) -> process_record.ProcessRecord:
    """Return the process record; ValueError when a JSON text in it is not an object."""
    who, times = process.requested_by, process.timestamps
    return process_record.ProcessRecord(
        process_id=process.process_id,
        process_type=process.process_type,
        request_id=process.request_id or None,
        status=process.status,
        target=process_record.RecordTarget(
            account_id=process.target_account_id or None,
            phone_id=process.target_phone_id or None,
        ),
        requested_by=process_record.RecordRequestedBy(
            system=who.system,
            user=who.user if who.HasField("user") else None,
            metadata=json_object(who.metadata_json),
        ),
        callback=process_record.RecordCallback(
            url=process.callback.url, metadata=json_object(process.callback.metadata_json)
        )
        if process.HasField("callback")
        else None,
        result=json_object(process.result_json),
        error=process_error(process.error) if process.HasField("error") else None,
        timestamps=process_record.Timestamps(
            created_at=moment(times.created_at),
            accepted_at=moment(times.accepted_at),
            queued_at=moment(times.queued_at),
            executing_at=moment(times.executing_at),
            retrying_at=moment(times.retrying_at),
            cancel_requested_at=moment(times.cancel_requested_at),
            finished_at=moment(times.finished_at),
        ),
        trace_id=process.trace_id or None,
        outcome=_outcome(process),
        linked_ids=process_record.LinkedIds(
            queue_item_ids=tuple(process.queue_item_ids),
            completed_queue_item_ids=tuple(process.completed_queue_item_ids),
        ),
        partial_progress=_progress(process.partial_progress)
        if process.HasField("partial_progress")
        else process_record.NoProgress(),
    )


def _outcome(process: process_pb2.Process) -> process_record.Outcome:
    match process.status:
        case "completed":
            return "completed"
        case "cancelled":
            return "cancelled"
        case "failed_terminal":
            return "partial" if process.partial_progress.items_completed else "failed"
        case _:
            return None


def delivery(leased: callback_pb2.Delivery) -> Delivery:
    """Return one leased delivery; ValueError as `record`."""
    return Delivery(
        delivery_id=leased.delivery_id,
        lease_token=leased.lease_token,
        process_id=leased.process_id,
        sequence=leased.sequence,
        milestone=leased.milestone,
        emitted_at=leased.emitted_at.ToDatetime(tzinfo=UTC),
        url=leased.url,
        attempt=leased.attempt,
        record=None if leased.event_json else record(leased.process),
        event_json=leased.event_json,
        trace=read_traceparent(leased.traceparent),
    )


def report(settled: AttemptReport) -> callback_pb2.DeliveryReport:
    """Return the message of one attempt's report."""
    return callback_pb2.DeliveryReport(
        delivery_id=settled.delivery_id,
        lease_token=settled.lease_token,
        outcome=_OUTCOMES[settled.outcome],
        http_status=settled.http_status,
        # What a receiver answered may hold halves of surrogates, which a message cannot.
        error=settled.error[:500].encode("utf-8", "replace").decode(),
        retry_after_seconds=settled.retry_after_seconds,
    )


def process_error(error: process_pb2.ProcessError) -> process_record.ProcessError:
    """Return the error of a process or an item."""
    return process_record.ProcessError(
        code=error.code,
        message=error.message,
        failure_class=error.failure_class,
        queue_item_id=error.queue_item_id or None,
        action=error.action or None,
        attempt=error.attempt,
    )


def _progress(progress: process_pb2.PartialProgress) -> process_record.PartialProgress:
    return process_record.PartialProgress(
        items_total=progress.items_total,
        items_completed=progress.items_completed,
        items_failed=progress.items_failed,
        items_cancelled=progress.items_cancelled,
        items=tuple(
            process_record.ItemProgress(
                queue_item_id=item.queue_item_id,
                phone_id=item.phone_id or None,
                account_id=item.account_id or None,
                status=item.status,
                actions_done=item.actions_done,
                actions_total=item.actions_total,
                deadline_at=moment(item.deadline_at),
                deadline_given=item.deadline_given,
            )
            for item in progress.items
        ),
    )


def json_object(text: str) -> dict[str, Any]:
    """Return the object in *text*, {} when it is empty; ValueError when it is no object."""
    value = json.loads(text) if text else {}
    if not isinstance(value, dict):
        raise ValueError(f"this is not a JSON object: {text[:80]}")  # noqa: TRY004 - one error for all unreadable records
    return value


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return *moment* as a message; None stays absent."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment(stamp: Timestamp) -> datetime | None:
    """Return the time in a message; None when it is absent."""
    # An absent message reads as 1970; no milestone of a process is that old.
    return stamp.ToDatetime(tzinfo=UTC) if stamp.ByteSize() else None
