"""Converts between protobuf messages and the agent's values."""

import math
from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import Readiness, RunOutcome, StageState, Transport

from phonefarm_agent.model import messages
from phonefarm_agent.model import records as rec
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.host import HostIncident, HostReport, RecoveryStep
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.model.run import (
    Assignment,
    Go,
    HeldRun,
    RunRef,
    RunStarted,
    StopOrder,
    StopStrategy,
)

_TRANSPORTS = {
    Transport.ABSENT: pb.TRANSPORT_ABSENT,
    Transport.OFFLINE: pb.TRANSPORT_OFFLINE,
    Transport.UNAUTHORIZED: pb.TRANSPORT_UNAUTHORIZED,
    Transport.NO_PERMISSION: pb.TRANSPORT_NO_PERMISSION,
    Transport.RECOVERY: pb.TRANSPORT_RECOVERY,
    Transport.BOOTLOADER: pb.TRANSPORT_BOOTLOADER,
    Transport.ONLINE: pb.TRANSPORT_ONLINE,
}
_READINESS = {
    Readiness.UNKNOWN: pb.READINESS_UNKNOWN,
    Readiness.PREPARING: pb.READINESS_PREPARING,
    Readiness.READY: pb.READINESS_READY,
    Readiness.UNFIT: pb.READINESS_UNFIT,
    Readiness.COOLING: pb.READINESS_COOLING,
}
_STAGES = {
    StageState.WAITING: pb.STAGE_STATE_WAITING,
    StageState.RUNNING: pb.STAGE_STATE_RUNNING,
    StageState.PASSED: pb.STAGE_STATE_PASSED,
    StageState.FAILED: pb.STAGE_STATE_FAILED,
    StageState.UNTOLD: pb.STAGE_STATE_UNTOLD,
}
_CLASSES = {
    FailureClass.WORK: pb.FAILURE_CLASS_WORK,
    FailureClass.INFRA: pb.FAILURE_CLASS_INFRA,
    FailureClass.ACCOUNT: pb.FAILURE_CLASS_ACCOUNT,
}
_OUTCOMES = {
    RunOutcome.DONE: pb.RUN_OUTCOME_DONE,
    RunOutcome.FAILED: pb.RUN_OUTCOME_FAILED,
    RunOutcome.STOPPED: pb.RUN_OUTCOME_STOPPED,
}
_STOP_STRATEGIES: dict[int, StopStrategy] = {
    pb.STOP_STRATEGY_SOFT: StopStrategy.SOFT,
    pb.STOP_STRATEGY_SOFT_THEN_FORCE: StopStrategy.SOFT_THEN_FORCE,
    pb.STOP_STRATEGY_HARD: StopStrategy.HARD,
}


def ref_to_wire(ref: RunRef) -> pb.RunRef:
    """Return *ref* for the wire."""
    return pb.RunRef(
        run_id=ref.run_id,
        item_id=ref.item_id,
        attempt=ref.attempt,
        lease_id=ref.lease_id,
        epoch=ref.epoch,
    )


def ref_from_wire(ref: pb.RunRef) -> RunRef:
    """Return the reference in the message *ref*."""
    return RunRef(
        run_id=ref.run_id,
        item_id=ref.item_id,
        attempt=ref.attempt,
        lease_id=ref.lease_id,
        epoch=ref.epoch,
    )


def phone_to_wire(phone: PhoneReport) -> pb.PhoneReport:
    """Return *phone* for the wire."""
    return pb.PhoneReport(
        serialno=phone.serialno,
        adb_serial=phone.adb_serial,
        transport=_TRANSPORTS[phone.transport],
        readiness=_READINESS[phone.readiness],
        reason=phone.reason,
        model=phone.model,
        android_release=phone.android_release,
        epoch=phone.epoch,
        stages=[
            pb.Stage(
                name=stage.name,
                state=_STAGES[stage.state],
                limit_seconds=stage.limit_seconds,
                seconds=stage.seconds,
                error=stage.error,
            )
            for stage in phone.stages
        ],
        needs_hands=phone.needs_hands,
        battery_percent=phone.facts.battery_percent,
        battery_celsius=phone.facts.battery_celsius,
        storage_free_bytes=phone.facts.storage_free_bytes,
    )


def inventory_to_wire(phones: Iterable[PhoneReport], host: HostReport) -> pb.AgentMessage:
    """Return the inventory message: the phones, and the host's report."""
    return pb.AgentMessage(
        inventory=pb.Inventory(
            phones=[phone_to_wire(phone) for phone in phones],
            host=pb.HostReport(
                withheld=host.withheld,
                incidents=[_incident_to_wire(incident) for incident in host.incidents],
                recovery=[_step_to_wire(step) for step in host.recovery],
            ),
        )
    )


def held_to_wire(held: HeldRun) -> pb.HeldRun:
    """Return *held* for the wire."""
    return pb.HeldRun(run=ref_to_wire(held.ref), going=held.going, ended=held.ended)


def started_to_wire(runs: Iterable[RunStarted]) -> pb.AgentMessage:
    """Return the message that asks the start gate for these *runs*."""
    asked = [
        pb.RunStarted(run=ref_to_wire(run.ref), container=run.container, asked_at=run.asked_at)
        for run in runs
    ]
    return pb.AgentMessage(runs_started=pb.RunsStarted(runs=asked))


def records_to_wire(records: Iterable[rec.Record]) -> pb.AgentMessage:
    """Return the message that carries *records*."""
    return pb.AgentMessage(
        run_records=pb.RunRecords(records=[record_to_wire(record) for record in records])
    )


def record_to_wire(record: rec.Record) -> pb.RunRecord:
    """Return *record* for the wire."""
    wire = pb.RunRecord(run=ref_to_wire(record.ref), sequence=record.sequence, at=_stamp(record.at))
    match record.body:
        case rec.ActionStarted(index=index, kind=kind):
            wire.action_started.CopyFrom(pb.ActionStarted(index=index, kind=kind))
        case rec.ActionDone() as done:
            wire.action_done.CopyFrom(
                pb.ActionDone(
                    index=done.index,
                    kind=done.kind,
                    outputs_json=done.outputs_json,
                    seconds=done.seconds,
                )
            )
        case rec.ActionFailed() as failed:
            wire.action_failed.CopyFrom(
                pb.ActionFailed(
                    index=failed.index,
                    kind=failed.kind,
                    failure=_failure_to_wire(failed.failure),
                    seconds=failed.seconds,
                )
            )
        case rec.RunEnded() as ended:
            wire.run_ended.CopyFrom(
                pb.RunEnded(
                    outcome=_OUTCOMES[ended.outcome],
                    failure=_failure_to_wire(ended.failure) if ended.failure else None,
                    exit_code=ended.exit_code,
                    failed_action_index=ended.failed_action_index,
                    failed_action_kind=ended.failed_action_kind,
                )
            )
        case rec.RunRefused(reason=reason):
            wire.run_refused.CopyFrom(pb.RunRefused(reason=reason))
        case rec.PhoneReleased() as released:
            wire.phone_released.CopyFrom(
                pb.PhoneReleased(
                    clean=released.clean, reason=released.reason, residue=released.residue
                )
            )
    return wire


def evidence_to_wire(file: EvidenceFile, *, offset: int = 0) -> pb.EvidenceHead:
    """Return the head of an upload: the file's facts, and the offset it starts at."""
    return pb.EvidenceHead(
        run=ref_to_wire(file.ref),
        name=file.name,
        kind=file.kind,
        bytes=file.size,
        sha256=file.sha256,
        truncated=file.truncated,
        action_index=file.action_index,
        offset=offset,
    )


def message_from_wire(message: pb.ControllerMessage) -> messages.ControllerMessage | None:
    """Return the controller's message as a value; None for one this version does not know."""
    match message.WhichOneof("body"):
        case "welcome":
            return _welcome(message.welcome)
        case "phone_names":
            return messages.PhoneNames(phones=_names(message.phone_names.phones))
        case "assignments":
            return messages.Assignments(
                assignments=tuple(_assignment(a) for a in message.assignments.assignments)
            )
        case "start_verdicts":
            return _verdicts(message.start_verdicts)
        case "heartbeat_ack":
            return messages.HeartbeatAck(
                number=message.heartbeat_ack.number,
                lost=tuple(ref_from_wire(ref) for ref in message.heartbeat_ack.lost),
            )
        case "record_acks":
            return messages.RecordAcks(
                acks=tuple(
                    messages.RecordAck(run_id=ack.run_id, epoch=ack.epoch, sequence=ack.sequence)
                    for ack in message.record_acks.acks
                )
            )
        case "stops":
            return messages.Stops(stops=tuple(_stop(stop) for stop in message.stops.stops))
        case "desired":
            return messages.DesiredState(
                claimed=tuple(_assignment(a) for a in message.desired.claimed),
                executing=tuple(ref_from_wire(ref) for ref in message.desired.executing),
                stops=tuple(_stop(stop) for stop in message.desired.stops),
                screens=tuple(wanted.ticket for wanted in message.desired.screens),
            )
        case "superseded":
            return messages.Superseded(by_incarnation=message.superseded.by_incarnation)
        case None:
            return None


def _incident_to_wire(incident: HostIncident) -> pb.HostIncident:
    return pb.HostIncident(
        incident_id=incident.incident_id,
        kind=incident.kind.value,
        error=incident.error,
        began_at=_stamp(incident.began_at),
        ended_at=None if incident.ended_at is None else _stamp(incident.ended_at),
        serialnos=incident.serialnos,
    )


def _step_to_wire(step: RecoveryStep) -> pb.RecoveryStep:
    return pb.RecoveryStep(
        number=step.number,
        serialno=step.serialno,
        adb_serial=step.adb_serial,
        step=step.step,
        reason=step.reason,
        outcome=step.outcome,
        at=_stamp(step.at),
    )


def _stamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _failure_to_wire(failure: rec.Failure) -> pb.Failure:
    return pb.Failure(
        code=failure.code,
        message=failure.message,
        failure_class=_CLASSES.get(failure.failure_class, pb.FAILURE_CLASS_UNSPECIFIED),
        final=failure.final,
    )


def _names(names: Iterable[pb.PhoneName]) -> tuple[messages.PhoneName, ...]:
    return tuple(
        messages.PhoneName(serialno=name.serialno, phone_id=name.phone_id, refused=name.refused)
        for name in names
    )


def _welcome(welcome: pb.Welcome) -> messages.Welcome:
    going_on: list[RunRef] = []
    stops: list[StopOrder] = []
    for verdict in welcome.verdicts:
        match verdict.WhichOneof("verdict"):
            case "continue":
                going_on.append(ref_from_wire(verdict.run))
            case "stop":
                stops.append(_stop(verdict.stop, verdict.run))
            case None:
                pass
    return messages.Welcome(
        term=welcome.term,
        farm_id=welcome.farm_id,
        going_on=tuple(going_on),
        stops=tuple(stops),
        phones=_names(welcome.phones),
    )


def _verdicts(message: pb.StartVerdicts) -> messages.StartVerdicts:
    go: list[Go] = []
    stops: list[StopOrder] = []
    for verdict in message.verdicts:
        match verdict.WhichOneof("verdict"):
            case "go":
                left = verdict.go.seconds_left or math.inf
                until = verdict.go.asked_at + left
                go.append(Go(ref=ref_from_wire(verdict.run), until=until))
            case "stop":
                stops.append(_stop(verdict.stop, verdict.run))
            case None:
                pass
    return messages.StartVerdicts(go=tuple(go), stops=tuple(stops))


def _stop(stop: pb.Stop, run: pb.RunRef | None = None) -> StopOrder:
    # A verdict names the run itself; the Stop inside it may leave that out. A strategy this version
    # does not know is taken for the hardest: stopping too much is the safe mistake.
    named = stop.run if run is None or stop.run.run_id else run
    return StopOrder(
        ref=ref_from_wire(named),
        reason=stop.reason,
        strategy=_STOP_STRATEGIES.get(stop.strategy, StopStrategy.HARD),
        force_after_seconds=stop.force_after_seconds,
    )


def _assignment(wire: pb.Assignment) -> Assignment:
    return Assignment(
        ref=ref_from_wire(wire.run),
        process_id=wire.process_id,
        phone_id=wire.phone_id,
        serialno=wire.serialno,
        account_id=wire.account_id,
        capability=wire.capability,
        plan_json=wire.plan_json,
        cap_seconds=wire.cap_seconds,
    )
