"""Builds every gRPC service of the controller from its core and the shared operations."""

import importlib.metadata
from functools import partial

from phonefarm_controller.agents.handshake import Handshake
from phonefarm_controller.app.wiring import Core, Features
from phonefarm_controller.callbacks.delivery import Deliver
from phonefarm_controller.callbacks.replay import Replay
from phonefarm_controller.capabilities.listing import Registry
from phonefarm_controller.evidence.read import ReadEvidence
from phonefarm_controller.evidence.upload import KeepEvidence
from phonefarm_controller.fleet.accounts import AccountAdmin
from phonefarm_controller.fleet.drain import Drain
from phonefarm_controller.fleet.force_release import Release
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.hold import Hold
from phonefarm_controller.fleet.phone_details import Sheets
from phonefarm_controller.fleet.phones import PhoneAdmin
from phonefarm_controller.housekeeping.backup import Backup
from phonefarm_controller.monitoring.doctor import Examine
from phonefarm_controller.processes.account_snapshots import upsert_snapshot
from phonefarm_controller.processes.content import ContentIngest
from phonefarm_controller.processes.rerun import Reruns
from phonefarm_controller.processes.verification import Prove
from phonefarm_controller.rpc.access_service import AccessEdge
from phonefarm_controller.rpc.agent_service import AgentEdge
from phonefarm_controller.rpc.callback_service import CallbackEdge
from phonefarm_controller.rpc.content_service import ContentEdge
from phonefarm_controller.rpc.doctor_service import DoctorEdge
from phonefarm_controller.rpc.fleet_service import FleetEdge
from phonefarm_controller.rpc.inspect_service import InspectEdge
from phonefarm_controller.rpc.join_service import JoinEdge, MemberEdge
from phonefarm_controller.rpc.operator_service import HandsEdge
from phonefarm_controller.rpc.process_service import ProcessEdge
from phonefarm_controller.rpc.server import Services
from phonefarm_controller.rpc.verification_service import ProvingEdge
from phonefarm_controller.runs.desired_state import Desire
from phonefarm_controller.runs.lease_renewal import renew_leases
from phonefarm_controller.scheduler.explain import Explain
from phonefarm_controller.scheduler.pauses import Pauses


def build_services(core: Core, features: Features) -> Services:
    """Build every gRPC service."""
    settings, keys, membership = core.settings, features.keys, features.membership
    return Services(
        processes=ProcessEdge(
            keys=keys,
            enqueue=features.enqueue,
            cancel=features.cancel,
            processes=features.processes,
        ),
        agents=_agent_service(core, features),
        fleet=_fleet_service(core, features),
        hands=_operator_service(core, features),
        doctor=DoctorEdge(
            keys=keys,
            examine=Examine(
                database=core.database,
                sessions=core.sessions,
                vitals=core.vitals,
                room=core.room,
                clock=core.clock,
                version=importlib.metadata.version("phonefarm"),
                certificate_life=settings.certificate_life,
                alone=not core.several,
            ),
        ),
        content=_content_service(core, features),
        proving=_verification_service(core, features),
        callbacks=CallbackEdge(
            keys=keys,
            deliver=Deliver(
                database=core.database,
                hints=core.hints,
                time_scale=settings.time_scale,
                lease_seconds=core.timers.callback_lease,
            ),
            hints=core.hints,
        ),
        inspect=_inspect_service(core, features),
        access=AccessEdge(keys=keys, api_keys=features.api_keys, membership=membership),
        joining=JoinEdge(membership=membership, controllers=settings.controllers),
        members=MemberEdge(keys=keys, membership=membership, controllers=settings.controllers),
    )


def _agent_service(core: Core, features: Features) -> AgentEdge:
    database = core.database
    return AgentEdge(
        keys=features.keys,
        farm_id=core.settings.farm_id,
        timers=core.timers,
        sessions=core.sessions,
        handshake=Handshake(
            database=database, inventory=features.inventory, time_scale=core.settings.time_scale
        ),
        inventory=features.inventory,
        renew=partial(renew_leases, database),
        reap=features.reap,
        desire=Desire(database=database, assignments=features.assignments),
        start=features.starts,
        report=features.reports,
        keep_evidence=KeepEvidence(database=database, place=core.place, vitals=core.vitals),
    )


def _fleet_service(core: Core, features: Features) -> FleetEdge:
    database, sessions, hints = core.database, core.sessions, core.hints
    return FleetEdge(
        keys=features.keys,
        phones=PhoneAdmin(database=database, sessions=sessions, hints=hints),
        accounts=AccountAdmin(database=database, hints=hints, profiles=core.profiles),
        groups=GroupAdmin(database=database, hints=hints),
        sheets=Sheets(database=database, sessions=sessions),
        membership=features.membership,
        pauses=Pauses(
            database=database, sessions=sessions, hints=hints, known_profiles=core.profiles
        ),
    )


def _operator_service(core: Core, features: Features) -> HandsEdge:
    database, sessions, hints = core.database, core.sessions, core.hints
    return HandsEdge(
        keys=features.keys,
        release=Release(database=database, policy=core.policy, sessions=sessions, hints=hints),
        drain=Drain(database=database, hints=hints),
        hold=Hold(
            database=database,
            profiles=core.profiles,
            policy=core.policy,
            hints=hints,
            room=core.room,
            cancel=features.cancel,
        ),
        backup=Backup(database=database, data=core.settings.data),
        reruns=Reruns(
            database=database,
            profiles=core.profiles,
            policy=core.policy,
            hints=hints,
            room=core.room,
        ),
    )


def _content_service(core: Core, features: Features) -> ContentEdge:
    return ContentEdge(
        keys=features.keys,
        content=ContentIngest(
            database=core.database,
            profiles=core.profiles,
            policy=core.policy,
            hints=core.hints,
            room=core.room,
        ),
        upsert_snapshot=partial(upsert_snapshot, core.database),
    )


def _verification_service(core: Core, features: Features) -> ProvingEdge:
    return ProvingEdge(
        keys=features.keys,
        prove=Prove(
            database=core.database,
            profiles=core.profiles,
            policy=core.policy,
            hints=core.hints,
            room=core.room,
            dummy_allowed=core.dummy_allowed,
        ),
    )


def _inspect_service(core: Core, features: Features) -> InspectEdge:
    database = core.database
    return InspectEdge(
        keys=features.keys,
        replay=Replay(database=database, hints=core.hints),
        processes=features.processes,
        watching=features.watching,
        explain=Explain(
            database=database, sessions=core.sessions, claim=features.claim, room=core.room
        ),
        evidence=ReadEvidence(database=database, place=core.place, vitals=core.vitals),
        registry=Registry(
            database=database, profiles=core.profiles, dummy_allowed=core.dummy_allowed
        ),
    )
