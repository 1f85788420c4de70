"""ProcessService messages as the model's values, and back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from phonefarm.v1 import process_pb2 as pb
from phonefarm_common.ids import is_uuid
from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.capabilities.fields import is_http
from phonefarm_controller.model.errors import invalid, unknown_process
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.processes import trace_id_of
from phonefarm_controller.model.requests import Mode, Routing, Submission, Target
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.rpc.wire import (
    DEEPEST,
    LONGEST_ID,
    LONGEST_JSON,
    LONGEST_TEXT,
    moment_of,
    object_of,
    shown_url,
    timestamp,
)

MODES: Final = {pb.MODE_MANUAL: Mode.MANUAL, pb.MODE_UNATTENDED: Mode.UNATTENDED}
ROUTINGS: Final = {
    pb.ROUTING_DIRECT: Routing.DIRECT,
    pb.ROUTING_QUEUE: Routing.QUEUE,
    pb.ROUTING_GROUP: Routing.GROUP,
}
_STRATEGIES: Final = {
    pb.CANCEL_STRATEGY_UNSPECIFIED: CancelStrategy.SOFT_THEN_FORCE,
    pb.CANCEL_STRATEGY_SOFT: CancelStrategy.SOFT,
    pb.CANCEL_STRATEGY_HARD: CancelStrategy.HARD,
    pb.CANCEL_STRATEGY_SOFT_THEN_FORCE: CancelStrategy.SOFT_THEN_FORCE,
}
DEFAULT_WINDOW_SECONDS: Final = 10
MOST_NAMED: Final = 10_000
"""The most ids in one list; the planner limits how many different ones a group may have."""


def inputs_of(text: str) -> Mapping[str, Any]:
    """Return the inputs in the JSON *text*; FarmError when it is no object."""
    problems: list[FieldProblem] = []
    inputs = _object("inputs", text, problems)
    if problems:
        raise invalid(*problems)
    return inputs


def submission_of(
    request: pb.EnqueueRequest, *, caller: str, traceparent: str | None = None
) -> Submission:
    """Return the submission of the named key; FarmError names every wrong field."""
    problems: list[FieldProblem] = []

    def text(field: str, value: str, longest: int = LONGEST_ID) -> str:
        if not value.strip():
            problems.append(FieldProblem(field=field, message="is required"))
        elif len(value) > longest or "\0" in value:
            message = f"must have at most {longest} characters, without NUL"
            problems.append(FieldProblem(field=field, message=message))
        return value

    request_id = text("request_id", request.request_id)
    capability = text("capability", request.capability)
    system = text("requested_by.system", request.requested_by.system)
    if request.requested_by.HasField("user"):
        user = request.requested_by.user
        if len(user) > LONGEST_ID or "\0" in user:
            message = f"must have at most {LONGEST_ID} characters, without NUL"
            problems.append(FieldProblem(field="requested_by.user", message=message))
    mode = MODES.get(request.mode)
    if mode is None:
        problems.append(FieldProblem(field="mode", message="must be manual or unattended"))
    routing = ROUTINGS.get(request.target.routing)
    if routing is None:
        message = "must be direct, queue or group"
        problems.append(FieldProblem(field="target.routing", message=message))
    url = request.callback.url if request.HasField("callback") else None
    if url is not None and not is_http(text("callback.url", url, LONGEST_TEXT)):
        problems.append(FieldProblem(field="callback.url", message="must be an http or https URL"))
    for name, ids in (
        ("target.phone_ids", request.target.phone_ids),
        ("target.account_ids", request.target.account_ids),
    ):
        if len(ids) > MOST_NAMED:
            problems.append(
                FieldProblem(field=name, message=f"must contain at most {MOST_NAMED} ids")
            )
    inputs = _object("inputs", request.inputs_json, problems)
    for field, metadata in (
        ("requested_by.metadata", request.requested_by.metadata_json),
        ("callback.metadata", request.callback.metadata_json),
    ):
        _object(field, metadata, problems)
    priority = request.priority if request.HasField("priority") else 5
    if not 0 <= priority <= 9:
        problems.append(FieldProblem(field="priority", message="must be between 0 and 9"))
    if problems or mode is None or routing is None:
        raise invalid(*problems)
    target = request.target
    return Submission(
        request_id=request_id,
        capability=capability,
        mode=mode,
        target=Target(
            routing=routing,
            phone_id=target.phone_id or None,
            account_id=target.account_id or None,
            phone_group=target.phone_group or None,
            account_group=target.account_group or None,
            phone_ids=tuple(target.phone_ids),
            account_ids=tuple(target.account_ids),
        ),
        inputs=inputs,
        system=system,
        user=request.requested_by.user if request.requested_by.HasField("user") else None,
        requested_by_metadata=request.requested_by.metadata_json or "{}",
        callback_url=url,
        callback_metadata=request.callback.metadata_json or "{}",
        digest=_digest(request),
        target_json=_target_json(target),
        inputs_json=request.inputs_json or "{}",
        priority=priority,
        not_before=moment_of("not_before", request.not_before)
        if request.HasField("not_before")
        else None,
        deadline=moment_of("deadline", request.deadline) if request.HasField("deadline") else None,
        dry_run=request.dry_run,
        caller=caller,
        traceparent=traceparent,
    )


def _digest(request: pb.EnqueueRequest) -> str:
    """Return what is equal for requests that ask for the same; a dry run asks for what it tries."""
    if request.dry_run:
        tried = request
        request = pb.EnqueueRequest()
        request.CopyFrom(tried)
        request.dry_run = False
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def cancel_of(request: pb.CancelProcessRequest, *, caller: str) -> CancelRequest:
    """Return the cancel request; FarmError for an unknown id or a wrong field."""
    if not is_uuid(request.process_id):
        raise unknown_process(request.process_id)
    problems = [
        FieldProblem(
            field=field, message=f"is required, and must have at most {LONGEST_TEXT} characters"
        )
        for field, value in (("reason", request.reason), ("requested_by", request.requested_by))
        if not value.strip() or len(value) > LONGEST_TEXT or "\0" in value
    ]
    strategy = _STRATEGIES.get(request.strategy)
    if strategy is None:
        message = "must be soft, hard or soft_then_force"
        problems.append(FieldProblem(field="strategy", message=message))
    window = (
        request.force_after_seconds
        if request.HasField("force_after_seconds")
        else DEFAULT_WINDOW_SECONDS
    )
    if window < 0:
        problems.append(FieldProblem(field="force_after_seconds", message="must not be negative"))
    if problems or strategy is None:
        raise invalid(*problems)
    return CancelRequest(
        process_id=request.process_id.lower(),
        reason=request.reason,
        requested_by=request.requested_by,
        strategy=strategy,
        force_after_seconds=float(window),
        caller=caller,
    )


def process_to_wire(record: Mapping[str, Any]) -> pb.Process:
    """Return the record of a process as its message."""
    target, asked = record["target"], record["requested_by"]
    callback, error = record["callback"], record["error"]
    progress = record["partial_progress"]
    return pb.Process(
        process_id=record["process_id"],
        process_type=record["process_type"],
        request_id=record["request_id"] or "",
        status=record["status"],
        state=record["state"],
        target_account_id=target["account_id"] or "",
        target_phone_id=target["phone_id"] or "",
        requested_by=pb.RequestedBy(
            system=asked["system"], user=asked["user"], metadata_json=asked["metadata_json"]
        ),
        callback=pb.Callback(
            url=shown_url(callback["url"]), metadata_json=callback["metadata_json"]
        )
        if callback
        else None,
        result_json=record["result_json"],
        error=pb.ProcessError(
            code=error["code"],
            message=error["message"],
            failure_class=error["class"],
            queue_item_id=error["queue_item_id"],
            action=error["action"] or "",
            attempt=error["attempt"],
        )
        if error
        else None,
        timestamps=pb.ProcessTimestamps(
            **{
                name: timestamp(micros)
                for name, micros in record["timestamps"].items()
                if micros is not None
            }
        ),
        # Records that were made before 0.2.0 lack it.
        trace_id=trace_id_of(record.get("traceparent")) or "",
        queue_item_ids=record["queue_item_ids"],
        completed_queue_item_ids=record["completed_queue_item_ids"],
        partial_progress=pb.PartialProgress(
            items_total=progress["items_total"],
            items_completed=progress["items_completed"],
            items_failed=progress["items_failed"],
            items_cancelled=progress["items_cancelled"],
            items=[
                pb.ItemProgress(
                    queue_item_id=item["queue_item_id"],
                    phone_id=item["phone_id"] or "",
                    account_id=item["account_id"] or "",
                    status=item["status"],
                    actions_done=item["actions_done"],
                    actions_total=item["actions_total"],
                    # Records that were made before 0.2.0 lack both.
                    deadline_at=timestamp(deadline)
                    if (deadline := item.get("deadline_at")) is not None
                    else None,
                    deadline_given=item.get("deadline_given", False),
                )
                for item in progress["items"]
            ],
        ),
    )


def _object(field: str, text: str, problems: list[FieldProblem]) -> dict[str, Any]:
    if len(text) > LONGEST_JSON:
        message = f"must have at most {LONGEST_JSON} characters of JSON"
        problems.append(FieldProblem(field=field, message=message))
        return {}
    value = object_of(text or "{}")
    if value is None:
        message = f"must be a JSON object that is nested at most {DEEPEST} levels deep"
        problems.append(FieldProblem(field=field, message=message))
        return {}
    if "\\u0000" in text:  # PostgreSQL's text cannot hold it
        problems.append(FieldProblem(field=field, message="must not contain NUL characters"))
    return value


def _target_json(target: pb.Target) -> str:
    named = {
        "routing": pb.Routing.Name(target.routing).removeprefix("ROUTING_").lower(),
        "phone_id": target.phone_id,
        "account_id": target.account_id,
        "phone_group": target.phone_group,
        "account_group": target.account_group,
        "phone_ids": list(target.phone_ids),
        "account_ids": list(target.account_ids),
    }
    return json.dumps({name: value for name, value in named.items() if value})
