"""Builds every gRPC service of the controller from its core and the shared operations."""

from functools import partial

from phonefarm_controller.agents.handshake import Handshake
from phonefarm_controller.app.wiring import Core, Features
from phonefarm_controller.callbacks.delivery import CallbackDelivery
from phonefarm_controller.callbacks.replay import Replay
from phonefarm_controller.capabilities.listing import CapabilityList
from phonefarm_controller.evidence.read import EvidenceReader
from phonefarm_controller.evidence.upload import EvidenceUpload
from phonefarm_controller.fleet.accounts import AccountAdmin
from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.fleet.force_release import ForceRelease
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.hold import Hold
from phonefarm_controller.fleet.phone_details import PhoneQuery
from phonefarm_controller.fleet.phones import PhoneAdmin
from phonefarm_controller.housekeeping.backup import Backup
from phonefarm_controller.processes.account_snapshots import upsert_snapshot
from phonefarm_controller.processes.content import ContentIngest
from phonefarm_controller.processes.rerun import RerunProcess
from phonefarm_controller.processes.verification import VerificationRuns
from phonefarm_controller.rpc.access_service import AccessService
from phonefarm_controller.rpc.agent_service import AgentService
from phonefarm_controller.rpc.callback_service import CallbackService
from phonefarm_controller.rpc.content_service import ContentService
from phonefarm_controller.rpc.doctor_service import DoctorService
from phonefarm_controller.rpc.fleet_service import FleetService
from phonefarm_controller.rpc.inspect_service import InspectService
from phonefarm_controller.rpc.join_service import JoinService, MemberService
from phonefarm_controller.rpc.operator_service import OperatorService
from phonefarm_controller.rpc.process_service import ProcessService
from phonefarm_controller.rpc.schedule_service import ScheduleService
from phonefarm_controller.rpc.screen_service import ScreenService
from phonefarm_controller.rpc.server import Services
from phonefarm_controller.rpc.verification_service import VerificationService
from phonefarm_controller.runs.desired_state import DesiredStateReader
from phonefarm_controller.runs.lease_renewal import renew_leases
from phonefarm_controller.scheduler.explain import Explain
from phonefarm_controller.scheduler.limits import Limits
from phonefarm_controller.scheduler.pauses import Pauses
from phonefarm_controller.scheduler.windows import Windows
from phonefarm_controller.screens.access import ScreenAccess


def build_services(core: Core, features: Features) -> Services:
    """Build every gRPC service."""
    settings, enrollment = core.settings, features.enrollment
    return Services(
        processes=ProcessService(
            enqueue=features.enqueue,
            cancel=features.cancel,
            processes=features.processes,
            dummy_allowed=core.dummy_allowed,
        ),
        schedules=ScheduleService(schedules=features.schedules),
        agents=_agent_service(core, features),
        fleet=_fleet_service(core, features),
        operator=_operator_service(core, features),
        doctor=DoctorService(doctor=features.doctor, alert_events=features.alert_events),
        content=_content_service(core, features),
        verification=_verification_service(core, features),
        callbacks=CallbackService(
            deliver=CallbackDelivery(
                database=core.database,
                wakeups=core.wakeups,
                time_scale=settings.time_scale,
                lease_seconds=core.timers.callback_lease,
            ),
            wakeups=core.wakeups,
            gateway_calls=features.gateway_calls,
            tracer=core.tracer,
        ),
        inspect=_inspect_service(core, features),
        screens=ScreenService(
            auth=features.auth,
            access=ScreenAccess(database=core.database, sessions=core.sessions),
            links=features.screen_links,
            most=settings.screens,
        ),
        access=AccessService(api_keys=features.api_keys, enrollment=enrollment),
        joining=JoinService(enrollment=enrollment, controllers=settings.controllers),
        members=MemberService(enrollment=enrollment, controllers=settings.controllers),
    )


def _agent_service(core: Core, features: Features) -> AgentService:
    database = core.database
    return AgentService(
        farm_id=core.settings.farm_id,
        timers=core.timers,
        sessions=core.sessions,
        handshake=Handshake(
            database=database, inventory=features.inventory, time_scale=core.settings.time_scale
        ),
        inventory=features.inventory,
        renew=partial(renew_leases, database),
        expiry=features.lease_expiry,
        desired_state=DesiredStateReader(database=database, assignments=features.assignments),
        start=features.starts,
        report=features.reports,
        evidence=EvidenceUpload(database=database, backend=core.backend, alarms=core.alarms),
        screen_links=features.screen_links,
    )


def _fleet_service(core: Core, features: Features) -> FleetService:
    database, sessions, wakeups = core.database, core.sessions, core.wakeups
    return FleetService(
        auth=features.auth,
        phones=PhoneAdmin(database=database, sessions=sessions, wakeups=wakeups),
        accounts=AccountAdmin(database=database, wakeups=wakeups, profiles=core.profiles),
        groups=GroupAdmin(database=database, wakeups=wakeups),
        phone_query=PhoneQuery(database=database, sessions=sessions),
        enrollment=features.enrollment,
        farm_watch=features.farm_watch,
        gateway_calls=features.gateway_calls,
        pauses=Pauses(
            database=database, sessions=sessions, wakeups=wakeups, known_profiles=core.profiles
        ),
        windows=Windows(database=database, wakeups=wakeups, max_wait=core.policy.max_wait),
        limits=Limits(database=database, wakeups=wakeups, apps=core.profiles),
    )


def _operator_service(core: Core, features: Features) -> OperatorService:
    database, sessions, wakeups = core.database, core.sessions, core.wakeups
    return OperatorService(
        release=ForceRelease(
            database=database, policy=core.policy, sessions=sessions, wakeups=wakeups
        ),
        drain=Drain(database=database, sessions=sessions, wakeups=wakeups),
        hold=Hold(
            database=database,
            profiles=core.profiles,
            policy=core.policy,
            wakeups=wakeups,
            disk_alarm=core.disk_alarm,
            cancel=features.cancel,
        ),
        backup=Backup(database=database, data=core.settings.data),
        reruns=RerunProcess(
            database=database,
            profiles=core.profiles,
            policy=core.policy,
            wakeups=wakeups,
            disk_alarm=core.disk_alarm,
        ),
    )


def _content_service(core: Core, features: Features) -> ContentService:
    return ContentService(
        content=ContentIngest(
            database=core.database,
            profiles=core.profiles,
            policy=core.policy,
            wakeups=core.wakeups,
            disk_alarm=core.disk_alarm,
        ),
        upsert_snapshot=partial(upsert_snapshot, core.database),
    )


def _verification_service(core: Core, features: Features) -> VerificationService:
    return VerificationService(
        verification=VerificationRuns(
            database=core.database,
            profiles=core.profiles,
            policy=core.policy,
            wakeups=core.wakeups,
            disk_alarm=core.disk_alarm,
            dummy_allowed=core.dummy_allowed,
        ),
    )


def _inspect_service(core: Core, features: Features) -> InspectService:
    database = core.database
    return InspectService(
        replay=Replay(database=database, wakeups=core.wakeups),
        processes=features.processes,
        process_watch=features.process_watch,
        explain=Explain(
            database=database,
            sessions=core.sessions,
            claim=features.claim,
            disk_alarm=core.disk_alarm,
        ),
        evidence=EvidenceReader(database=database, backend=core.backend, alarms=core.alarms),
        capabilities=CapabilityList(
            database=database, profiles=core.profiles, dummy_allowed=core.dummy_allowed
        ),
    )
