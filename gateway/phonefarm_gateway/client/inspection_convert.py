"""Converts the messages of InspectService to response models; decides nothing."""

from datetime import UTC

from phonefarm.schemas import responses
from phonefarm.v1 import inspect_pb2 as pb

from phonefarm_gateway.client.convert import json_object, moment, process_error, record


def transition(message: pb.Transition) -> responses.Transition:
    """Return one transition."""
    return responses.Transition(
        number=message.number,
        at=message.at.ToDatetime(tzinfo=UTC),
        queue_item_id=message.queue_item_id or None,
        from_state=message.from_state or None,
        to_state=message.to_state,
        actor=message.actor,
        reason=message.reason,
        attempt=message.attempt,
        phone_id=message.phone_id or None,
        account_id=message.account_id or None,
    )


def event(message: pb.ProcessEvent) -> responses.ProcessEvent:
    """Return the data of one server-sent event."""
    return responses.ProcessEvent(
        emitted_at=message.emitted_at.ToDatetime(tzinfo=UTC),
        process=record(message.process),
        transitions=tuple(transition(one) for one in message.transitions),
    )


def explanation(message: pb.Explanation) -> responses.Explanation:
    """Return why a process waits."""
    return responses.Explanation(
        process_id=message.process_id,
        status=message.status,
        summary=message.summary,
        reasons=tuple(_reason(one) for one in message.reasons),
        items=tuple(
            responses.ItemExplanation(
                queue_item_id=item.queue_item_id,
                status=item.status,
                ready_at=moment(item.ready_at),
                deadline_at=moment(item.deadline_at),
                deadline_given=item.deadline_given,
                items_ahead=item.items_ahead,
                reasons=tuple(_reason(one) for one in item.reasons),
                phones=tuple(
                    responses.PhoneReason(
                        phone_id=one.phone_id, reason=one.reason, detail=one.detail
                    )
                    for one in item.phones
                ),
            )
            for item in message.items
        ),
    )


def _reason(message: pb.ReasonCount) -> responses.ReasonCount:
    return responses.ReasonCount(reason=message.reason, count=message.count, remedy=message.remedy)


def queue_item(message: pb.QueueItem) -> responses.QueueItem:
    """Return one queue item."""
    return responses.QueueItem(
        queue_item_id=message.queue_item_id,
        process_id=message.process_id,
        process_type=message.process_type,
        status=message.status,
        priority=message.priority,
        created_at=moment(message.created_at),
        ready_at=moment(message.ready_at),
        deadline_at=moment(message.deadline_at),
        deadline_given=message.deadline_given,
        finished_at=moment(message.finished_at),
        phone_id=message.phone_id or None,
        account_id=message.account_id or None,
        app=message.app or None,
        profile_version=message.profile_version or None,
        attempt=message.attempt,
        work_failures=message.work_failures,
        infra_failures=message.infra_failures,
        actions=tuple(
            responses.PlannedAction(
                index=action.index,
                kind=action.kind,
                limit_seconds=action.limit_seconds,
                repeat=action.repeat,
                status=action.status,
            )
            for action in message.actions
        ),
        attempts=tuple(_attempt(one) for one in message.attempts),
        error=process_error(message.error) if message.HasField("error") else None,
        outputs=json_object(message.outputs_json),
    )


def _attempt(message: pb.Attempt) -> responses.Attempt:
    return responses.Attempt(
        attempt=message.attempt,
        run_id=message.run_id,
        phone_id=message.phone_id or None,
        account_id=message.account_id or None,
        agent_id=message.agent_id or None,
        status=message.status,
        outcome=message.outcome or None,
        container=message.container or None,
        claimed_at=moment(message.claimed_at),
        started_at=moment(message.started_at),
        ended_at=moment(message.ended_at),
    )


def delivery(message: pb.DeliveryLine) -> responses.Delivery:
    """Return one callback and its attempts."""
    return responses.Delivery(
        delivery_id=message.delivery_id,
        sequence=message.sequence,
        milestone=message.milestone,
        url=message.url,
        status=message.status,
        attempts=message.attempts,
        emitted_at=moment(message.emitted_at),
        due_at=moment(message.due_at),
        settled_at=moment(message.settled_at),
        last_error=message.last_error or None,
        log=tuple(
            responses.DeliveryAttempt(
                attempt=one.attempt,
                ended_at=moment(one.ended_at),
                outcome=one.outcome,
                http_status=one.http_status or None,
                error=one.error or None,
                gateway_id=one.gateway_id,
            )
            for one in message.log
        ),
    )


def receiver(message: pb.FailingReceiver) -> responses.FailingReceiver:
    """Return one receiver that does not take its callbacks."""
    return responses.FailingReceiver(
        receiver=message.receiver,
        waiting=message.waiting,
        since=message.since.ToDatetime(tzinfo=UTC),
        process_id=message.process_id,
        error=message.error,
    )


def run_evidence(message: pb.EvidenceOfRun) -> responses.RunEvidence:
    """Return whether all evidence of a run is here."""
    return responses.RunEvidence(
        run_id=message.run_id,
        queue_item_id=message.queue_item_id or None,
        attempt=message.attempt,
        complete=message.complete,
    )


def evidence(process_id: str, message: pb.EvidenceLine) -> responses.Evidence:
    """Return one file's description, with its URL."""
    return responses.Evidence(
        evidence_id=message.evidence_id,
        queue_item_id=message.queue_item_id or None,
        run_id=message.run_id,
        attempt=message.attempt,
        name=message.name,
        kind=message.kind,
        bytes=message.bytes,
        sha256=message.sha256,
        truncated=message.truncated,
        action_index=message.action_index if message.action_index >= 0 else None,
        received_at=moment(message.received_at),
        removed_at=moment(message.removed_at),
        removed_why=message.removed_why or None,
        url=f"evidence/{message.evidence_id}",
    )


def capability(message: pb.Capability) -> responses.Capability:
    """Return one capability, with the JSON Schema of its inputs."""
    return responses.Capability(
        name=message.name,
        description=message.description,
        modes=tuple(message.modes),
        routings=tuple(message.routings),
        endpoint=message.endpoint,
        inputs_schema=json_object(message.inputs_schema_json),
        can_be_verified=message.can_be_verified,
        apps=tuple(
            responses.AppVerification(
                app=app.app,
                profile_version=app.profile_version,
                live_verified=app.live_verified,
                verified_at=moment(app.verified_at),
                verified_by=app.verified_by or None,
                run_id=app.run_id or None,
                process_id=app.process_id or None,
            )
            for app in message.apps
        ),
    )
