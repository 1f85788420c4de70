"""Converts the messages of operators' services to response models; decides nothing."""

from typing import Any, Final

from phonefarm.schemas import farm, operation, windows
from phonefarm.v1 import access_pb2, agent_pb2, doctor_pb2, operator_pb2, verification_pb2
from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_gateway.client.convert import moment

_PAUSE_SCOPES: Final = {
    "all": pb.PAUSE_SCOPE_ALL,
    "app": pb.PAUSE_SCOPE_APP,
    "account": pb.PAUSE_SCOPE_ACCOUNT,
    "capability": pb.PAUSE_SCOPE_CAPABILITY,
}
WINDOW_SCOPES: Final = {
    "account": pb.WINDOW_SCOPE_ACCOUNT,
    "phone": pb.WINDOW_SCOPE_PHONE,
    "group": pb.WINDOW_SCOPE_GROUP,
    "capability": pb.WINDOW_SCOPE_CAPABILITY,
}
GROUP_KINDS: Final = {"phone": pb.GROUP_KIND_PHONE, "account": pb.GROUP_KIND_ACCOUNT}
CLEAN_UP_STEPS: Final = {
    "stop_apps": pb.CLEAN_UP_STEP_STOP_APPS,
    "remove_added": pb.CLEAN_UP_STEP_REMOVE_ADDED,
    "home": pb.CLEAN_UP_STEP_HOME,
}
_VERDICTS: Final = ("ok", "warn", "fail")
"""From good to bad."""


def phone(message: pb.Phone) -> farm.Phone:
    """Return one phone."""
    return farm.Phone(
        phone_id=message.phone_id,
        serialno=message.serialno,
        adb_serial=message.adb_serial,
        model=message.model,
        android_release=message.android_release,
        agent_id=message.agent_id,
        transport=_word(agent_pb2.Transport, message.transport),
        readiness=_word(agent_pb2.Readiness, message.readiness),
        readiness_reason=message.readiness_reason,
        health=message.health,
        health_reason=message.health_reason,
        lease=message.lease,
        intent=message.intent,
        offered=message.offered,
        process_id=message.process_id or None,
        run_id=message.run_id or None,
        health_until=moment(message.health_until),
        cooling_until=moment(message.cooling_until),
        needs_hands=message.needs_hands,
        reasons=tuple(
            farm.PhoneBlocker(
                reason=one.reason, detail=one.detail, remedy=one.remedy, until=moment(one.until)
            )
            for one in message.reasons
        ),
        needs_hands_since=moment(message.needs_hands_since),
        since=moment(message.since),
        process_type=message.process_type or None,
        account_id=message.account_id or None,
        lease_epoch=message.lease_epoch or None,
        agent_connected=message.agent_connected,
        agent_drain=message.agent_drain,
        warnings=tuple(message.warnings),
    )


def phone_list(message: pb.ListPhonesResponse) -> farm.PhoneList:
    """Return every phone, and how many there are of each kind."""
    phones = tuple(phone(one) for one in message.phones)
    offered = sum(one.offered for one in phones)
    at_work = sum(one.lease == "leased" for one in phones)
    counts = farm.PhoneCounts(
        total=len(phones),
        offered=offered,
        at_work=at_work,
        withheld=len(phones) - offered - at_work,
        needs_hands=sum(bool(one.needs_hands) for one in phones),
    )
    return farm.PhoneList(phones=phones, counts=counts)


def phone_details(message: pb.PhoneDetails) -> farm.PhoneDetails:
    """Return everything that is known of a phone."""
    host = message.host
    return farm.PhoneDetails(
        phone=phone(message.phone),
        axes=tuple(
            farm.PhoneAxis(
                axis=axis.axis,
                value=axis.value,
                reason=axis.reason,
                since=moment(axis.since),
                by=axis.by,
            )
            for axis in message.axes
        ),
        stages=tuple(
            farm.ReadinessStage(
                name=stage.name,
                state=_word(agent_pb2.StageState, stage.state, prefix="STAGE_STATE_"),
                seconds=stage.seconds,
                limit_seconds=stage.limit_seconds,
                error=stage.error,
            )
            for stage in message.stages
        ),
        battery_percent=_given(message, "battery_percent"),
        battery_celsius=_given(message, "battery_celsius"),
        storage_free_bytes=_given(message, "storage_free_bytes"),
        looked_at=moment(message.looked_at),
        rounds=message.rounds,
        failures=tuple(
            farm.PhoneFailure(
                at=moment(one.at),
                blame=one.blame,
                code=one.code,
                message=one.message,
                run_id=one.run_id,
                process_id=one.process_id,
                counts=one.counts,
            )
            for one in message.failures
        ),
        host=farm.Host(
            agent_id=host.agent_id,
            connected=host.connected,
            heard_at=moment(host.heard_at),
            withheld=host.withheld,
            withheld_since=moment(host.withheld_since),
            incidents=tuple(_incident(host.agent_id, one) for one in host.incidents),
        ),
        recovery=tuple(audit_entry(one) for one in message.recovery),
        audit=tuple(audit_entry(one) for one in message.audit),
        windows=tuple(window(one) for one in message.windows),
    )


def incident(message: pb.FarmIncident) -> farm.Incident:
    """Return an incident of a host."""
    return _incident(message.agent_id, message.incident)


def _incident(agent_id: str, message: pb.HostIncidentState) -> farm.Incident:
    return farm.Incident(
        agent_id=agent_id,
        incident_id=message.incident_id,
        kind=message.kind,
        error=message.error,
        began_at=moment(message.began_at),
        ended_at=moment(message.ended_at),
        phones=tuple(message.phones),
        seen_by=message.seen_by,
    )


def hands_needed(message: pb.HandsNeeded) -> farm.HandsNeeded:
    """Return what a person must do."""
    return farm.HandsNeeded(
        phone_id=message.phone_id or None,
        agent_id=message.agent_id,
        adb_serial=message.adb_serial,
        reason=message.reason,
        since=moment(message.since),
    )


def audit_entry(message: pb.AuditEntry) -> farm.AuditEntry:
    """Return one line of the audit."""
    return farm.AuditEntry(
        at=moment(message.at),
        actor=message.actor,
        verb=message.verb,
        subject=message.subject,
        reason=message.reason,
    )


def process_moved(message: pb.ProcessChange) -> farm.ProcessMoved:
    """Return a process that moved."""
    return farm.ProcessMoved(
        process_id=message.process_id,
        process_type=message.process_type,
        request_id=message.request_id or None,
        system=message.system,
        status=message.status,
        created_at=moment(message.created_at),
        finished_at=moment(message.finished_at),
        at=moment(message.at),
        queue_item_id=message.queue_item_id or None,
        to_state=message.to_state,
        actor=message.actor,
        reason=message.reason,
        phone_id=message.phone_id or None,
        account_id=message.account_id or None,
    )


def account(message: pb.Account) -> farm.Account:
    """Return one account."""
    return farm.Account(
        account_id=message.account_id,
        phone_id=message.phone_id or None,
        app=message.app,
        active=message.active,
        condition="needs_attention" if message.condition == "needs_attention" else "ok",
        condition_reason=message.condition_reason,
    )


def group(message: pb.Group) -> farm.Group:
    """Return one group."""
    words = {step: word for word, step in CLEAN_UP_STEPS.items()}
    return farm.Group(
        kind="account" if message.kind == pb.GROUP_KIND_ACCOUNT else "phone",
        name=message.name,
        member_ids=tuple(message.member_ids),
        clean_up=tuple(words.get(step, str(step)) for step in message.clean_up.steps)
        if message.HasField("clean_up")
        else None,
    )


def agent(message: pb.Agent) -> farm.Agent:
    """Return one agent."""
    return farm.Agent(
        agent_id=message.agent_id,
        version=message.version,
        runtime=message.runtime,
        connected=message.connected,
        last_heartbeat_at=moment(message.last_heartbeat_at),
        phones=message.phones,
        certificate_expires_at=moment(message.certificate_expires_at),
        drain_since=moment(message.drain_since),
        drain_by=message.drain_by,
        drain_reason=message.drain_reason,
    )


def pause_scope(word: str) -> pb.PauseScope.ValueType:
    """Return the scope of a pause."""
    return _PAUSE_SCOPES[word]


def pause(message: pb.PauseState) -> operation.Pause:
    """Return one pause."""
    words = {scope: word for word, scope in _PAUSE_SCOPES.items()}
    return operation.Pause(
        scope=words.get(message.scope, str(message.scope)),
        name=message.name or None,
        since=moment(message.since),
        by=message.by,
        reason=message.reason,
    )


def paused(message: pb.PauseState) -> operation.Paused:
    """Return a pause that has just begun, with what it means for what waits."""
    return operation.Paused(
        **dict(pause(message)),
        stopped=message.stopped,
        waiting=message.waiting,
        deadlines_soon=message.deadlines_soon,
        first_deadline_at=moment(message.first_deadline_at),
    )


def window(message: pb.Window) -> windows.Window:
    """Return one window."""
    words = {scope: word for word, scope in WINDOW_SCOPES.items()}
    return windows.Window(
        scope=words.get(message.scope, str(message.scope)),
        name=message.name,
        zone=message.zone,
        hours=tuple(message.hours),
        may_overrun=message.may_overrun,
        since=moment(message.since),
        by=message.by,
        reason=message.reason,
        open=message.open,
        changes_at=moment(message.changes_at),
    )


def hold(message: operator_pb2.Hold) -> farm.Hold:
    """Return a hold."""
    return farm.Hold(
        process_id=message.process_id,
        phone_id=message.phone_id,
        agent_id=message.agent_id or None,
        state=message.state,
        address=message.address or None,
        until=moment(message.until),
        why=message.why,
    )


def api_key(message: access_pb2.ApiKey) -> operation.ApiKey:
    """Return a key without its text."""
    return operation.ApiKey(
        key_id=message.key_id,
        name=message.name,
        scopes=tuple(message.scopes),
        created_at=moment(message.created_at),
        created_by=message.created_by,
        expires_at=moment(message.expires_at),
        revoked_at=moment(message.revoked_at),
        last_used_at=moment(message.last_used_at),
    )


def examination(message: doctor_pb2.Examination) -> operation.Examination:
    """Return the findings, and the worst of their verdicts."""
    findings = tuple(
        operation.Finding(
            check=one.check,
            verdict=_word(doctor_pb2.Verdict, one.verdict),
            text=one.text,
            remedy=one.remedy,
        )
        for one in message.findings
    )
    known = [_VERDICTS.index(one.verdict) for one in findings if one.verdict in _VERDICTS]
    return operation.Examination(
        verdict=_VERDICTS[max(known, default=0)], summary=message.summary, findings=findings
    )


def alert_event(message: doctor_pb2.AlertEvent) -> operation.AlertEvent:
    """Return one alert event."""
    return operation.AlertEvent(
        sequence=message.sequence,
        delivery_id=message.delivery_id,
        event_type=message.event_type,
        text=message.text,
        status=message.status,
        attempts=message.attempts,
        emitted_at=moment(message.emitted_at),
        due_at=moment(message.due_at),
        settled_at=moment(message.settled_at),
        last_error=message.last_error or None,
    )


def verification(message: verification_pb2.Verification) -> operation.Verification:
    """Return what was proved."""
    return operation.Verification(
        capability=message.capability,
        app=message.app,
        profile_version=message.profile_version,
        run_id=message.run_id,
        process_id=message.process_id,
        phone_id=message.phone_id,
        verified_by=message.verified_by,
        verified_at=moment(message.verified_at),
    )


def _given(message: pb.PhoneDetails, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def _word(kind: Any, value: int, *, prefix: str = "") -> str:
    """Return `online` for TRANSPORT_ONLINE; a number that a newer controller sends stays one.

    Enumerations prefix their values with their own name, or with *prefix*.
    """
    for number, name in kind.DESCRIPTOR.values_by_number.items():
        if number == value:
            word = str(name.name)
            return (word.removeprefix(prefix) if prefix else word.partition("_")[2]).lower()
    return str(value)
