"""Phones, accounts, groups, agents, pauses and the audit: from and to messages."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from phonefarm.v1 import agent_pb2
from phonefarm.v1 import fleet_pb2 as pb
from phonefarm_common.reasons import FieldProblem
from phonefarm_common.wire_enums import CleanupStep, StageState

from phonefarm_controller.callbacks.gateway_calls import CallingGateway, RefusedGateway
from phonefarm_controller.fleet.phone_details import HandsNeeded, HostDetails, PhoneDetails
from phonefarm_controller.fleet.phones import PhoneView
from phonefarm_controller.model.blockers import Blocker
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.pauses import NOTHING_WAITS, Pause, PauseScope, WaitingWork
from phonefarm_controller.model.phone_reports import Incident
from phonefarm_controller.model.states import Condition
from phonefarm_controller.rpc.agent_convert import READINESS_TO_WIRE
from phonefarm_controller.rpc.phone_report_convert import STAGES_TO_WIRE, TRANSPORT_TO_WIRE
from phonefarm_controller.rpc.window_convert import window_to_wire
from phonefarm_controller.rpc.wire import moment_to_wire
from phonefarm_controller.scheduler.remedies import remedy
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.audit import Entry
from phonefarm_controller.store.groups import Group

_CONDITIONS: Final = {"": Condition.OK} | {str(each): each for each in Condition}
GROUP_KINDS: Final = {pb.GROUP_KIND_PHONE: "phone", pb.GROUP_KIND_ACCOUNT: "account"}
_PAUSE_SCOPES: Final = {
    pb.PAUSE_SCOPE_ALL: PauseScope.ALL,
    pb.PAUSE_SCOPE_APP: PauseScope.APP,
    pb.PAUSE_SCOPE_ACCOUNT: PauseScope.ACCOUNT,
    pb.PAUSE_SCOPE_CAPABILITY: PauseScope.CAPABILITY,
}
_SCOPES_TO_WIRE: Final = {word: scope for scope, word in _PAUSE_SCOPES.items()}
_KINDS_TO_WIRE: Final = {word: kind for kind, word in GROUP_KINDS.items()}
_STEPS: Final = {
    pb.CLEAN_UP_STEP_STOP_APPS: CleanupStep.STOP_APPS,
    pb.CLEAN_UP_STEP_REMOVE_ADDED: CleanupStep.REMOVE_ADDED,
    pb.CLEAN_UP_STEP_HOME: CleanupStep.HOME,
}
_STEPS_TO_WIRE: Final = {step: word for word, step in _STEPS.items()}
_LEASE_WORDS: Final = {"live": "leased", "releasing": "releasing", "dirty": "dirty"}


def blockers_to_wire(blockers: Iterable[Blocker]) -> list[pb.PhoneHindrance]:
    """Return what hinders, each with its remedy."""
    return [
        pb.PhoneHindrance(
            reason=blocker.kind,
            detail=blocker.detail,
            remedy=remedy([blocker]),
            until=moment_to_wire(blocker.moment),
        )
        for blocker in blockers
    ]


def phone_details_to_wire(details: PhoneDetails) -> pb.PhoneDetails:
    """Return everything that is known of a phone."""
    report = details.report.report if details.report is not None else None
    return pb.PhoneDetails(
        phone=phone_to_wire(details.view),
        axes=[
            pb.PhoneAxis(
                axis=axis.axis,
                value=_LEASE_WORDS.get(axis.value, axis.value),
                reason=axis.reason,
                since=moment_to_wire(axis.since),
                by=axis.by,
            )
            for axis in details.axes
        ],
        stages=[
            agent_pb2.Stage(
                name=stage.name,
                state=STAGES_TO_WIRE[StageState(stage.state)],
                limit_seconds=stage.limit_seconds,
                seconds=stage.seconds,
                error=stage.error,
            )
            for stage in (report.stages if report is not None else ())
        ],
        battery_percent=None if report is None else report.battery_percent,
        battery_celsius=None if report is None else report.battery_celsius,
        storage_free_bytes=None if report is None else report.storage_free_bytes,
        looked_at=None if details.report is None else moment_to_wire(details.report.told_at),
        rounds=details.view.phone.rounds,
        failures=[
            pb.PhoneFailure(
                at=moment_to_wire(charge.at),
                blame=charge.blame,
                code=charge.code,
                message=charge.message,
                run_id=charge.run_id,
                process_id=charge.process_id,
                counts=charge.counts,
            )
            for charge in details.failures
        ],
        host=_host(details.host),
        recovery=entries_to_wire(details.recovery),
        audit=entries_to_wire(details.audit),
        windows=[window_to_wire(window) for window in details.windows],
    )


def _host(details: HostDetails) -> pb.HostState:
    agent = details.agent
    return pb.HostState(
        agent_id=details.host.agent_id,
        connected=agent is not None and agent.connected,
        heard_at=None if agent is None else moment_to_wire(agent.heard_at),
        withheld=details.host.withheld,
        withheld_since=moment_to_wire(details.host.withheld_since),
        incidents=[_incident(incident) for incident in details.incidents],
    )


def _incident(incident: Incident) -> pb.HostIncidentState:
    return pb.HostIncidentState(
        incident_id=incident.incident_id,
        kind=incident.kind,
        error=incident.error,
        began_at=moment_to_wire(incident.began_at),
        ended_at=moment_to_wire(incident.ended_at),
        phones=incident.phones,
        seen_by=incident.seen_by,
    )


def incident_to_wire(agent_id: str, incident: Incident) -> pb.FarmIncident:
    """Return the incident, and whose it is."""
    return pb.FarmIncident(agent_id=agent_id, incident=_incident(incident))


def entries_to_wire(entries: Iterable[Entry]) -> list[pb.AuditEntry]:
    """Return entries of the audit."""
    return [
        pb.AuditEntry(
            at=moment_to_wire(entry.at),
            actor=entry.actor,
            verb=entry.verb,
            subject=entry.subject,
            reason=entry.reason,
        )
        for entry in entries
    ]


def needed_to_wire(needed: Iterable[HandsNeeded]) -> list[pb.HandsNeeded]:
    """Return what a person must do."""
    return [
        pb.HandsNeeded(
            phone_id=each.phone_id,
            agent_id=each.agent_id,
            adb_serial=each.adb_serial,
            reason=each.reason,
            since=moment_to_wire(each.since),
        )
        for each in needed
    ]


def pause_scope_of(scope: pb.PauseScope.ValueType) -> PauseScope:
    """Return the scope; FarmError when it is none of ours."""
    known = _PAUSE_SCOPES.get(scope)
    if known is None:
        raise invalid_field("scope", f"must be one of {', '.join(PauseScope)}")
    return known


def pause_to_wire(
    pause: Pause, *, stopped: int = 0, waiting: WaitingWork = NOTHING_WAITS
) -> pb.PauseState:
    """Return the pause; *stopped* is the number of runs it ended, *waiting* what it holds back."""
    return pb.PauseState(
        scope=_SCOPES_TO_WIRE[pause.scope],
        name=pause.name,
        since=moment_to_wire(pause.since),
        by=pause.by,
        reason=pause.reason,
        stopped=stopped,
        waiting=waiting.items,
        deadlines_soon=waiting.deadlines,
        first_deadline_at=moment_to_wire(waiting.first_deadline),
    )


def accounts_of(
    accounts: Mapping[str, pb.Account],
) -> tuple[dict[str, Account], list[FieldProblem]]:
    """Return the accounts by the field they came in, and the problems found in them."""
    problems = [
        FieldProblem(field=f"{where}.condition", message="must be ok or needs_attention")
        for where, account in accounts.items()
        if account.condition not in _CONDITIONS
    ]
    asked = {
        where: Account(
            account_id=account.account_id,
            phone_id=account.phone_id or None,
            app=account.app,
            active=account.active,
            condition=_CONDITIONS.get(account.condition, Condition.OK),
            condition_reason=account.condition_reason[:500],
        )
        for where, account in accounts.items()
    }
    return asked, problems


def agent_to_wire(agent: Agent, *, phones: int = 0, until: datetime | None = None) -> pb.Agent:
    """Return the agent; *until* is the end of its last certificate."""
    return pb.Agent(
        agent_id=agent.agent_id,
        version=agent.version,
        connected=agent.connected,
        last_heartbeat_at=moment_to_wire(agent.heard_at),
        phones=phones,
        runtime=agent.runtime,
        certificate_expires_at=moment_to_wire(until),
        drain_since=moment_to_wire(agent.drain_since),
        drain_by=agent.drain_by,
        drain_reason=agent.drain_reason,
    )


def gateways_to_wire(
    calling: Iterable[CallingGateway],
    refused: Iterable[RefusedGateway],
    until: Mapping[str, datetime],
) -> list[pb.Gateway]:
    """Return every gateway once, by id; *until* has the ends of certificates."""
    found = {
        name: pb.Gateway(gateway_id=name, certificate_expires_at=moment_to_wire(end))
        for name, end in until.items()
    }
    for caller in calling:
        gateway = found.setdefault(caller.name, pb.Gateway(gateway_id=caller.name))
        gateway.connected = True
        if caller.signs is not None:
            gateway.signs = caller.signs
    for stranger in refused:
        name = stranger.member_id or stranger.name
        found.setdefault(name, pb.Gateway(gateway_id=name)).refused = stranger.why
    return [found[name] for name in sorted(found)]


def phone_to_wire(view: PhoneView) -> pb.Phone:
    """Return the phone's status and its lease as a message."""
    phone, lease = view.phone, view.lease
    return pb.Phone(
        phone_id=phone.phone_id,
        serialno=phone.serialno,
        agent_id=phone.agent_id,
        transport=TRANSPORT_TO_WIRE[phone.transport],
        readiness=READINESS_TO_WIRE[phone.readiness],
        readiness_reason=phone.readiness_reason,
        health=phone.health,
        health_reason=phone.health_reason,
        lease=_LEASE_WORDS[lease.state] if lease else "free",
        epoch=phone.epoch,
        intent=phone.intent,
        model=phone.model,
        android_release=phone.android_release,
        offered=view.offered,
        run_id=lease.run_id if lease else "",
        process_id=lease.process_id if lease else "",
        agent_drain=view.agent_drain,
        lease_epoch=lease.epoch if lease else 0,
        adb_serial=phone.adb_serial,
        health_until=moment_to_wire(phone.health_until),
        cooling_until=moment_to_wire(phone.cooling_until),
        needs_hands=view.needs_hands,
        needs_hands_since=moment_to_wire(view.needs_hands_since),
        reasons=blockers_to_wire(view.blockers),
        warnings=view.warnings,
        since=moment_to_wire(view.since),
        process_type=view.process_type,
        account_id=lease.account_id if lease else "",
        agent_connected=view.agent_connected,
    )


def account_to_wire(account: Account) -> pb.Account:
    """Return the account."""
    return pb.Account(
        account_id=account.account_id,
        phone_id=account.phone_id or "",
        app=account.app,
        active=account.active,
        condition=account.condition,
        condition_reason=account.condition_reason,
    )


def cleanup_steps_of(wanted: pb.CleanUp) -> frozenset[CleanupStep]:
    """Return the steps; FarmError for one this controller does not know."""
    unknown = [word for word in wanted.steps if word not in _STEPS]
    if unknown:
        raise invalid_field(
            "clean_up.steps", f"{unknown[0]} is not a clean-up step that this controller knows"
        )
    return frozenset(_STEPS[word] for word in wanted.steps)


def group_to_wire(group: Group) -> pb.Group:
    """Return the group with its clean-up policy."""
    wire = pb.Group(kind=_KINDS_TO_WIRE[group.kind], name=group.name, member_ids=group.members)
    if group.clean_up is not None:
        wire.clean_up.CopyFrom(
            pb.CleanUp(steps=[_STEPS_TO_WIRE[step] for step in sorted(group.clean_up)])
        )
    return wire
