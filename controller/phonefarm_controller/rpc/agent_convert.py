"""AgentService messages as the domain's values, and back."""

from collections.abc import Iterable
from typing import Final

from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import Readiness, RunOutcome, Transport

from phonefarm_controller.agents.handshake import AgentHello, HeldRun, Welcome
from phonefarm_controller.agents.inventory import PhoneName, ReportedPhone
from phonefarm_controller.evidence.upload import EvidenceHead
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    Assignment,
    Body,
    PhoneReleased,
    Report,
    RunEnded,
    RunRef,
    RunRefused,
    Stop,
)
from phonefarm_controller.rpc.phone_report_convert import TRANSPORTS, phone_report_of
from phonefarm_controller.rpc.wire import object_of
from phonefarm_controller.runs.desired_state import DesiredState
from phonefarm_controller.runs.report import Ack
from phonefarm_controller.runs.start_gate import StartAnswer

MOST_ASSIGNED_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of plans in a message: half of what a channel takes; a plan is far smaller."""

READINESS_TO_WIRE: Final = {
    Readiness.UNKNOWN: pb.READINESS_UNKNOWN,
    Readiness.PREPARING: pb.READINESS_PREPARING,
    Readiness.READY: pb.READINESS_READY,
    Readiness.UNFIT: pb.READINESS_UNFIT,
    Readiness.COOLING: pb.READINESS_COOLING,
}
# A value that a newer agent made up is "could not tell".
_READINESS: Final = {wire: ours for ours, wire in READINESS_TO_WIRE.items()}
_CLASSES: Final = {
    pb.FAILURE_CLASS_WORK: FailureClass.WORK,
    pb.FAILURE_CLASS_INFRA: FailureClass.INFRA,
    pb.FAILURE_CLASS_ACCOUNT: FailureClass.ACCOUNT,
}
_OUTCOMES: Final = {
    pb.RUN_OUTCOME_DONE: RunOutcome.DONE,
    pb.RUN_OUTCOME_FAILED: RunOutcome.FAILED,
    pb.RUN_OUTCOME_STOPPED: RunOutcome.STOPPED,
}
_STRATEGIES: Final = {
    "soft": pb.STOP_STRATEGY_SOFT,
    "hard": pb.STOP_STRATEGY_HARD,
    "soft_then_force": pb.STOP_STRATEGY_SOFT_THEN_FORCE,
}
LONGEST_MESSAGE: Final = 4000
LONGEST_OUTPUTS: Final = 256 * 1024


def ref_of(run: pb.RunRef) -> RunRef:
    """Return the reference to a run."""
    return RunRef(
        run_id=run.run_id,
        item_id=run.item_id,
        attempt=run.attempt,
        lease_id=run.lease_id,
        epoch=run.epoch,
    )


def ref_to_wire(run: RunRef) -> pb.RunRef:
    """Return the reference as a message."""
    return pb.RunRef(
        run_id=run.run_id,
        item_id=run.item_id,
        attempt=run.attempt,
        lease_id=run.lease_id,
        epoch=run.epoch,
    )


def phones_of(reports: Iterable[pb.PhoneReport]) -> tuple[ReportedPhone, ...]:
    """Return the phones as the agent sees them, each serial number once."""
    seen = {
        report.serialno: ReportedPhone(
            serialno=report.serialno,
            adb_serial=report.adb_serial[:256],
            transport=TRANSPORTS.get(report.transport, Transport.OFFLINE),
            readiness=_READINESS.get(report.readiness, Readiness.UNKNOWN),
            reason=report.reason[:500],
            model=report.model[:256],
            android_release=report.android_release[:64],
            epoch=max(0, report.epoch),
            report=phone_report_of(report),
        )
        for report in reports
    }
    return tuple(seen.values())


def hello_of(hello: pb.Hello) -> AgentHello:
    """Return the agent's first words."""
    return AgentHello(
        agent_id=hello.agent_id,
        boot_id=hello.boot_id,
        incarnation=hello.incarnation,
        protocol_version=hello.protocol_version,
        version=hello.agent_version[:64],
        runtime=hello.runtime[:64],
        time_scale=hello.time_scale or 1.0,
        phones=phones_of(hello.phones),
        held=tuple(HeldRun(run=ref_of(h.run), ended=h.ended) for h in hello.held_runs),
        runs_without_app=hello.runs_without_app,
    )


def report_of(record: pb.RunRecord, *, agent_id: str, term: int) -> Report | None:
    """Return the record, None for a kind that only a newer controller knows."""
    body = _body(record)
    if body is None:
        return None
    return Report(
        agent_id=agent_id,
        term=term,
        run=ref_of(record.run),
        sequence=record.sequence,
        body=body,
    )


def _body(record: pb.RunRecord) -> Body | None:
    match record.WhichOneof("body"):
        case "action_started":
            started = record.action_started
            return ActionStarted(index=started.index, kind=started.kind[:64])
        case "action_done":
            done = record.action_done
            return ActionDone(
                index=done.index,
                kind=done.kind[:64],
                outputs=_outputs(done.outputs_json),
                seconds=done.seconds,
            )
        case "action_failed":
            failed = record.action_failed
            return ActionFailed(
                index=failed.index,
                kind=failed.kind[:64],
                failure=_failure(failed.failure, failed.kind[:64]),
                seconds=failed.seconds,
            )
        case "run_ended":
            ended = record.run_ended
            return RunEnded(
                outcome=_OUTCOMES.get(ended.outcome, RunOutcome.FAILED),
                failure=_failure(ended.failure, ended.failed_action_kind[:64])
                if ended.HasField("failure")
                else None,
                exit_code=ended.exit_code if ended.HasField("exit_code") else None,
            )
        case "run_refused":
            return RunRefused(reason=record.run_refused.reason[:500])
        case "phone_released":
            released = record.phone_released
            return PhoneReleased(
                clean=released.clean,
                reason=released.reason[:500],
                residue=tuple(text[:500] for text in released.residue[:50]),
            )
        case None:
            return None


def _outputs(text: str) -> str:
    """Return the outputs; what is no JSON object of a sane size is dropped, not stored."""
    if len(text) > LONGEST_OUTPUTS:
        return "{}"
    return text if object_of(text) is not None else "{}"


def _failure(failure: pb.Failure, action: str) -> Failure:
    return Failure(
        code=failure.code[:128] or "unknown",
        message=failure.message[:LONGEST_MESSAGE].replace("\0", ""),
        failure_class=_CLASSES.get(failure.failure_class, FailureClass.INFRA),
        final=failure.final,
        action=action or None,
    )


def head_of(head: pb.EvidenceHead) -> EvidenceHead:
    """Return what a file claims to be."""
    return EvidenceHead(
        run=ref_of(head.run),
        name=head.name,
        kind=head.kind,
        bytes=head.bytes,
        sha256=head.sha256,
        truncated=head.truncated,
        action_index=head.action_index,
        offset=head.offset,
    )


def names_to_wire(names: Iterable[PhoneName]) -> list[pb.PhoneName]:
    """Return the phones' names as messages."""
    return [
        pb.PhoneName(serialno=name.serialno, phone_id=name.phone_id, refused=name.refused)
        for name in names
    ]


def welcome_to_wire(welcome: Welcome, farm_id: str) -> pb.ControllerMessage:
    """Return the answer to a hello."""
    verdicts = []
    for run, stop in welcome.verdicts:
        verdict = pb.RunVerdict(run=ref_to_wire(run))
        if stop is None:
            getattr(verdict, "continue").SetInParent()
        else:
            verdict.stop.CopyFrom(
                pb.Stop(run=ref_to_wire(run), reason=stop, strategy=pb.STOP_STRATEGY_HARD)
            )
        verdicts.append(verdict)
    return pb.ControllerMessage(
        welcome=pb.Welcome(
            term=welcome.term,
            verdicts=verdicts,
            phones=names_to_wire(welcome.phones),
            farm_id=farm_id,
        )
    )


def assignment_to_wire(assignment: Assignment) -> pb.Assignment:
    """Return the assignment as a message."""
    return pb.Assignment(
        run=ref_to_wire(assignment.run),
        process_id=assignment.process_id,
        phone_id=assignment.phone_id,
        serialno=assignment.serialno,
        account_id=assignment.account_id,
        capability=assignment.capability,
        plan_json=assignment.plan,
        cap_seconds=assignment.cap_seconds,
    )


def stop_to_wire(stop: Stop) -> pb.Stop:
    """Return the order to end a run as a message."""
    return pb.Stop(
        run=ref_to_wire(stop.run),
        reason=stop.reason,
        strategy=_STRATEGIES[stop.strategy],
        force_after_seconds=stop.force_after_seconds,
    )


def assignments_to_wire(assignments: Iterable[Assignment]) -> list[pb.ControllerMessage]:
    """Return the assignments in as few messages as may be sent."""
    parts = _parts(assignment_to_wire(assignment) for assignment in assignments)
    return [
        pb.ControllerMessage(assignments=pb.Assignments(assignments=part)) for part in parts if part
    ]


def desired_to_wire(desired: DesiredState) -> list[pb.ControllerMessage]:
    """Return the desired list as messages; what does not fit in the first is only assigned again.

    Absence from the list means nothing to an agent, so the rest may come beside it.
    """
    first, *rest = _parts(assignment_to_wire(assignment) for assignment in desired.claimed)
    whole = pb.Desired(
        claimed=first,
        executing=[ref_to_wire(run) for run in desired.executing],
        stops=[stop_to_wire(stop) for stop in desired.stops],
        screens=[pb.ScreenWanted(ticket=ticket) for ticket in desired.screens],
    )
    return [
        pb.ControllerMessage(desired=whole),
        *(pb.ControllerMessage(assignments=pb.Assignments(assignments=part)) for part in rest),
    ]


def _parts(assignments: Iterable[pb.Assignment]) -> list[list[pb.Assignment]]:
    """Return the assignments in lists of at most MOST_ASSIGNED_BYTES, at least one list."""
    parts: list[list[pb.Assignment]] = [[]]
    size = 0
    for assignment in assignments:
        size += assignment.ByteSize()
        if parts[-1] and size > MOST_ASSIGNED_BYTES:
            parts.append([])
            size = assignment.ByteSize()
        parts[-1].append(assignment)
    return parts


def verdicts_to_wire(answers: Iterable[StartAnswer]) -> pb.ControllerMessage:
    """Return the start gate's answers as a message."""
    verdicts = []
    for answer in answers:
        verdict = pb.StartVerdict(run=ref_to_wire(answer.run))
        if answer.stop is None:
            verdict.go.CopyFrom(pb.Go(asked_at=answer.asked_at, seconds_left=answer.seconds_left))
        else:
            verdict.stop.CopyFrom(
                pb.Stop(
                    run=ref_to_wire(answer.run),
                    reason=answer.stop,
                    strategy=_STRATEGIES[answer.strategy],
                    force_after_seconds=answer.force_after_seconds,
                )
            )
        verdicts.append(verdict)
    return pb.ControllerMessage(start_verdicts=pb.StartVerdicts(verdicts=verdicts))


def acks_to_wire(acks: Iterable[Ack]) -> pb.ControllerMessage:
    """Return acknowledgements as a message, the highest per run."""
    highest: dict[tuple[str, int], int] = {}
    for ack in acks:
        key = (ack.run_id, ack.epoch)
        highest[key] = max(ack.sequence, highest.get(key, 0))
    return pb.ControllerMessage(
        record_acks=pb.RecordAcks(
            acks=[
                pb.RecordAck(run_id=run_id, epoch=epoch, sequence=sequence)
                for (run_id, epoch), sequence in highest.items()
            ]
        )
    )


def check_hello(message: pb.AgentMessage) -> pb.Hello:
    """Return the hello that a session must begin with; FarmError otherwise."""
    if message.WhichOneof("body") != "hello":
        raise invalid_field("hello", "must be the first message of a session")
    return message.hello
