"""What InspectService shows, as messages."""

from collections.abc import Iterable
from typing import Final

from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import process_pb2

from phonefarm_controller.callbacks.replay import LoggedDelivery
from phonefarm_controller.capabilities.listing import AppVerification, CapabilityView
from phonefarm_controller.evidence.read import EvidenceDetails, RunEvidence
from phonefarm_controller.model.items import shown_deadline
from phonefarm_controller.model.states import DELIVERY_SETTLED
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.processes.item_details import ActionDetails, AttemptDetails, ItemDetails
from phonefarm_controller.processes.watch import ProcessEvent
from phonefarm_controller.rpc.process_convert import process_to_wire
from phonefarm_controller.rpc.wire import moment_to_wire, shown_url
from phonefarm_controller.scheduler.explanation import Explanation, ItemExplanation, ReasonCount
from phonefarm_controller.store.deliveries import FailingReceiver

MOST_ATTEMPTS: Final = 20
"""The newest attempts that are shown of a delivery."""


def event_to_wire(event: ProcessEvent) -> pb.ProcessEvent:
    """Return the event of a watched process."""
    return pb.ProcessEvent(
        number=event.number,
        emitted_at=moment_to_wire(event.emitted_at),
        process=process_to_wire(event.record),
        transitions=transitions_to_wire(event.transitions),
    )


def transitions_to_wire(transitions: Iterable[Transition]) -> list[pb.Transition]:
    """Return transitions, in their order."""
    return [
        pb.Transition(
            number=one.number,
            at=moment_to_wire(one.at),
            queue_item_id=one.item_id or "",
            from_state=one.from_state or "",
            to_state=one.to_state,
            actor=one.actor,
            reason=one.reason,
            attempt=one.attempt,
            phone_id=one.phone_id or "",
            account_id=one.account_id or "",
        )
        for one in transitions
    ]


def explanation_to_wire(told: Explanation) -> pb.Explanation:
    """Return why a process waits."""
    return pb.Explanation(
        process_id=told.process_id,
        status=told.status,
        summary=told.summary,
        reasons=[_reason(each) for each in told.reasons],
        items=[_item_explanation(item) for item in told.items],
    )


def _item_explanation(item: ItemExplanation) -> pb.ItemExplanation:
    return pb.ItemExplanation(
        queue_item_id=item.queue_item_id,
        status=item.status,
        ready_at=moment_to_wire(item.ready_at),
        deadline_at=moment_to_wire(shown_deadline(item.deadline_at)),
        deadline_given=item.deadline_given,
        items_ahead=item.items_ahead,
        reasons=[_reason(each) for each in item.reasons],
        phones=[
            pb.PhoneReason(phone_id=each.phone_id, reason=each.reason, detail=each.detail)
            for each in item.phones
        ],
    )


def _reason(each: ReasonCount) -> pb.ReasonCount:
    return pb.ReasonCount(reason=each.reason, count=each.count, remedy=each.remedy)


def item_to_wire(farm: ItemDetails) -> pb.QueueItem:
    """Return an item with its plan and attempts."""
    item, failure = farm.item, farm.item.failure
    error = None
    if failure is not None:
        error = process_pb2.ProcessError(
            code=failure.code,
            message=failure.message,
            failure_class=failure.failure_class,
            queue_item_id=item.item_id,
            action=failure.action or "",
            attempt=item.attempt,
        )
    return pb.QueueItem(
        queue_item_id=item.item_id,
        process_id=item.process_id,
        process_type=farm.process_type,
        status=item.state,
        priority=item.priority,
        created_at=moment_to_wire(item.created_at),
        ready_at=moment_to_wire(item.ready_at),
        deadline_at=moment_to_wire(shown_deadline(item.deadline_at)),
        deadline_given=item.deadline_given,
        finished_at=moment_to_wire(item.finished_at),
        phone_id=item.phone_id or item.want_phone_id or item.last_phone_id or "",
        account_id=item.account_id or item.want_account_id or "",
        app=item.app,
        profile_version=item.profile_version,
        attempt=item.attempt,
        work_failures=item.work_failures,
        infra_failures=item.infra_failures,
        actions=[_action(action) for action in farm.actions],
        attempts=[_attempt(attempt) for attempt in farm.attempts],
        error=error,
        outputs_json=item.outputs or "",
    )


def evidence_to_wire(farm: EvidenceDetails) -> pb.EvidenceLine:
    """Return the line of a kept file."""
    kept = farm.evidence
    return pb.EvidenceLine(
        evidence_id=kept.evidence_id,
        process_id=kept.process_id,
        queue_item_id=farm.item_id,
        run_id=kept.run_id,
        attempt=farm.attempt,
        name=kept.name,
        kind=kept.kind,
        bytes=kept.bytes,
        sha256=kept.sha256,
        truncated=kept.truncated,
        action_index=kept.action_index,
        received_at=moment_to_wire(kept.received_at),
        removed_at=moment_to_wire(kept.removed_at),
        removed_why=kept.removed_why or "",
    )


def run_evidence_to_wire(run: RunEvidence) -> pb.EvidenceOfRun:
    """Return whether all of a run is here."""
    return pb.EvidenceOfRun(
        run_id=run.run_id,
        queue_item_id=run.item_id,
        attempt=run.attempt,
        complete=run.complete,
    )


def capability_to_wire(view: CapabilityView) -> pb.Capability:
    """Return a capability of the registry."""
    return pb.Capability(
        name=view.name,
        description=view.description,
        modes=view.modes,
        routings=view.routings,
        endpoint=view.endpoint,
        inputs_schema_json=view.inputs_schema_json,
        can_be_verified=view.can_be_verified,
        apps=[_app(app) for app in view.apps],
    )


def _action(action: ActionDetails) -> pb.PlannedAction:
    return pb.PlannedAction(
        index=action.index,
        kind=action.kind,
        limit_seconds=action.limit_seconds,
        repeat=action.repeat,
        status=action.status,
    )


def _attempt(attempt: AttemptDetails) -> pb.Attempt:
    return pb.Attempt(
        attempt=attempt.attempt,
        run_id=attempt.run_id,
        phone_id=attempt.phone_id,
        account_id=attempt.account_id,
        agent_id=attempt.agent_id,
        status=attempt.state,
        outcome=attempt.outcome or "",
        container=attempt.container or "",
        claimed_at=moment_to_wire(attempt.claimed_at),
        started_at=moment_to_wire(attempt.started_at),
        ended_at=moment_to_wire(attempt.ended_at),
    )


def _app(app: AppVerification) -> pb.AppVerification:
    return pb.AppVerification(
        app=app.app,
        profile_version=app.profile_version,
        live_verified=app.live_verified,
        verified_at=moment_to_wire(app.verified_at),
        verified_by=app.verified_by or "",
        run_id=app.run_id or "",
        process_id=app.process_id or "",
    )


def receiver_to_wire(failing: FailingReceiver) -> pb.FailingReceiver:
    """Return a receiver that does not take its callbacks."""
    return pb.FailingReceiver(
        receiver=failing.receiver or shown_url(failing.url),
        waiting=failing.count,
        since=moment_to_wire(failing.since),
        process_id=failing.process_id,
        error=failing.error,
    )


def delivery_to_wire(logged: LoggedDelivery) -> pb.DeliveryLine:
    """Return a delivery with its newest attempts."""
    delivery = logged.delivery
    return pb.DeliveryLine(
        delivery_id=delivery.delivery_id,
        sequence=delivery.sequence,
        milestone=delivery.milestone,
        url=shown_url(delivery.url),
        status=delivery.state,
        attempts=delivery.attempts,
        emitted_at=moment_to_wire(delivery.emitted_at),
        last_error=delivery.last_error or "",
        due_at=None if delivery.state in DELIVERY_SETTLED else moment_to_wire(delivery.due_at),
        settled_at=moment_to_wire(delivery.settled_at),
        log=[
            pb.DeliveryAttempt(
                attempt=attempt.attempt,
                ended_at=moment_to_wire(attempt.ended_at),
                outcome=attempt.outcome,
                http_status=attempt.http_status,
                error=attempt.error,
                gateway_id=attempt.gateway_id,
            )
            for attempt in logged.log[-MOST_ATTEMPTS:]
        ],
    )
