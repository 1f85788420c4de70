"""Agents' reports of phones and hosts, as the model's values."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.wire_enums import StageState, Transport

from phonefarm_controller.model.phone_reports import (
    HostReport,
    Incident,
    PhoneReport,
    RecoveryStep,
    Stage,
    UnidentifiedDevice,
)

TRANSPORT_TO_WIRE: Final = {
    Transport.ABSENT: pb.TRANSPORT_ABSENT,
    Transport.OFFLINE: pb.TRANSPORT_OFFLINE,
    Transport.UNAUTHORIZED: pb.TRANSPORT_UNAUTHORIZED,
    Transport.NO_PERMISSION: pb.TRANSPORT_NO_PERMISSION,
    Transport.RECOVERY: pb.TRANSPORT_RECOVERY,
    Transport.BOOTLOADER: pb.TRANSPORT_BOOTLOADER,
    Transport.ONLINE: pb.TRANSPORT_ONLINE,
}
TRANSPORTS: Final = {wire: ours for ours, wire in TRANSPORT_TO_WIRE.items()}
STAGES_TO_WIRE: Final = {
    StageState.WAITING: pb.STAGE_STATE_WAITING,
    StageState.RUNNING: pb.STAGE_STATE_RUNNING,
    StageState.PASSED: pb.STAGE_STATE_PASSED,
    StageState.FAILED: pb.STAGE_STATE_FAILED,
    StageState.UNTOLD: pb.STAGE_STATE_UNTOLD,
}
_STAGES: Final = {wire: ours for ours, wire in STAGES_TO_WIRE.items()}
MOST_STRANGERS: Final = 200
MOST_SERIALS: Final = 500
MOST_STAGES: Final = 30
MOST_TOLD: Final = 100
"""The most incidents, and the most recovery steps, in one report."""


def unidentified_devices_of(reports: Iterable[pb.PhoneReport]) -> tuple[UnidentifiedDevice, ...]:
    """Return what adb lists and the agent could not identify, each name once."""
    seen = {
        report.adb_serial: UnidentifiedDevice(
            adb_serial=report.adb_serial[:256],
            transport=TRANSPORTS.get(report.transport, Transport.OFFLINE),
            reason=report.reason[:500],
            needs_hands=report.needs_hands[:500],
        )
        for report in reports
        if not report.serialno and report.adb_serial
    }
    return tuple(seen.values())[:MOST_STRANGERS]


def host_of(inventory: pb.Inventory) -> HostReport | None:
    """Return the host as its agent sees it; None from an agent before 0.2.0."""
    if not inventory.HasField("host"):
        return None
    host = inventory.host
    return HostReport(
        withheld=host.withheld[:500],
        incidents=tuple(
            Incident(
                incident_id=incident.incident_id[:128],
                kind=incident.kind[:64],
                error=incident.error[:500],
                phones=tuple(serial[:256] for serial in incident.serialnos[:MOST_SERIALS]),
                began_at=_moment(incident.began_at),
                ended_at=_moment(incident.ended_at) if incident.HasField("ended_at") else None,
            )
            for incident in host.incidents[-MOST_TOLD:]
            if incident.incident_id
        ),
        recovery=tuple(
            RecoveryStep(
                number=step.number,
                serialno=step.serialno[:256],
                adb_serial=step.adb_serial[:256],
                step=step.step[:64],
                reason=step.reason[:300],
                outcome=step.outcome[:300],
            )
            for step in host.recovery[-MOST_TOLD:]
            if step.number > 0
        ),
    )


def phone_report_of(report: pb.PhoneReport) -> PhoneReport:
    """Return the agent's report of a phone beside its axes."""
    return PhoneReport(
        stages=tuple(
            Stage(
                name=stage.name[:64],
                state=_STAGES.get(stage.state, StageState.UNTOLD),
                limit_seconds=_finite(stage.limit_seconds),
                seconds=_finite(stage.seconds),
                error=stage.error[:500],
            )
            for stage in report.stages[:MOST_STAGES]
        ),
        needs_hands=report.needs_hands[:500],
        battery_percent=report.battery_percent if report.HasField("battery_percent") else None,
        battery_celsius=_finite(report.battery_celsius)
        if report.HasField("battery_celsius")
        else None,
        storage_free_bytes=report.storage_free_bytes
        if report.HasField("storage_free_bytes")
        else None,
    )


def _moment(stamp: Timestamp) -> datetime:
    """Return the moment by the agent's clock; one that no calendar has is the first of 1970."""
    try:
        return stamp.ToDatetime(UTC)
    except (OverflowError, ValueError):
        return datetime.fromtimestamp(0, UTC)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
