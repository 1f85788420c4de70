"""Sheets of phones, hands needed and the audit as messages."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2
from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_controller.fleet.phone_details import HandsNeeded, HostSheet, PhoneSheet
from phonefarm_controller.model.blockers import Why
from phonefarm_controller.model.phone_reports import Incident, StageState
from phonefarm_controller.model.times import micros
from phonefarm_controller.rpc.phone_report_convert import STAGES_TO_WIRE
from phonefarm_controller.rpc.wire import timestamp
from phonefarm_controller.scheduler.remedies import remedy
from phonefarm_controller.store.audit import Entry

LEASE_WORDS: Final = {"live": "leased", "releasing": "releasing", "dirty": "dirty"}


def stamp(moment: datetime | None) -> Timestamp | None:
    """Return the moment as a message; None stays absent."""
    return None if moment is None else timestamp(micros(moment) or 0)


def whys_to_wire(whys: Iterable[Why]) -> list[pb.PhoneHindrance]:
    """Return what hinders, each with its remedy."""
    return [
        pb.PhoneHindrance(
            reason=why.hindrance, detail=why.detail, remedy=remedy([why]), until=stamp(why.moment)
        )
        for why in whys
    ]


def sheet_to_wire(sheet: PhoneSheet, phone: pb.Phone) -> pb.PhoneSheet:
    """Return everything that is known of *phone*."""
    look = sheet.look.look if sheet.look is not None else None
    return pb.PhoneSheet(
        phone=phone,
        axes=[
            pb.PhoneAxis(
                axis=axis.axis,
                value=LEASE_WORDS.get(axis.value, axis.value),
                reason=axis.reason,
                since=stamp(axis.since),
                by=axis.by,
            )
            for axis in sheet.axes
        ],
        stages=[
            agent_pb2.Stage(
                name=stage.name,
                state=STAGES_TO_WIRE[StageState(stage.state)],
                limit_seconds=stage.limit_seconds,
                seconds=stage.seconds,
                error=stage.error,
            )
            for stage in (look.stages if look is not None else ())
        ],
        battery_percent=None if look is None else look.battery_percent,
        battery_celsius=None if look is None else look.battery_celsius,
        storage_free_bytes=None if look is None else look.storage_free_bytes,
        looked_at=None if sheet.look is None else stamp(sheet.look.told_at),
        rounds=sheet.view.phone.rounds,
        failures=[
            pb.PhoneFailure(
                at=stamp(charge.at),
                blame=charge.blame,
                code=charge.code,
                message=charge.message,
                run_id=charge.run_id,
                process_id=charge.process_id,
                counts=charge.counts,
            )
            for charge in sheet.failures
        ],
        host=_host(sheet.host),
        recovery=entries_to_wire(sheet.recovery),
        audit=entries_to_wire(sheet.audit),
    )


def _host(sheet: HostSheet) -> pb.HostState:
    agent = sheet.agent
    return pb.HostState(
        agent_id=sheet.host.agent_id,
        connected=agent is not None and agent.connected,
        heard_at=None if agent is None else stamp(agent.heard_at),
        withheld=sheet.host.withheld,
        withheld_since=stamp(sheet.host.withheld_since),
        incidents=[_incident(incident) for incident in sheet.incidents],
    )


def _incident(incident: Incident) -> pb.HostIncidentState:
    return pb.HostIncidentState(
        incident_id=incident.incident_id,
        kind=incident.kind,
        error=incident.error,
        began_at=stamp(incident.began_at),
        ended_at=stamp(incident.ended_at),
        phones=incident.phones,
        seen_by=incident.seen_by,
    )


def entries_to_wire(entries: Iterable[Entry]) -> list[pb.AuditEntry]:
    """Return entries of the audit."""
    return [
        pb.AuditEntry(
            at=stamp(entry.at),
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
            since=stamp(each.since),
        )
        for each in needed
    ]
