"""`phonefarm phones show` and `needs-hands`: all about a phone, and what people must do."""

import argparse
from typing import Final

from phonefarm.v1 import agent_pb2, fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_json, add_phone, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.terminal import echo, warn

_NOTES: Final = """\
It prints why the phone is or is not offered, with remedies; its transport and readiness (from its
agent), health and lease (from the controller) and intent (from operators); the stages of readiness;
its failures; the incidents of its host; its recovery steps; and the audit.
docs/operating.md, "Phones", says what the controller does with a phone that fails.
"""
_HANDS: Final = """\
Only a person can do these: allow debugging on a screen, mend a cable, charge a battery, check a
phone that is dirty or that failed too often. A phone that cannot be identified is listed by its adb
serial.
"""
_AXES: Final = ("AXIS", "IS", "SINCE", "BY", "WHY")
_STAGES: Final = ("STAGE", "STATE", "SECONDS", "LIMIT", "LAST ERROR")
_REASONS: Final = ("WHY NOT", "DETAIL", "UNTIL", "WHAT HELPS")
_FAILURES: Final = ("FAILED", "CODE", "COUNTS", "PROCESS", "MESSAGE")
_INCIDENTS: Final = ("INCIDENT", "FROM", "TO", "SEEN BY", "PHONES", "ERROR")
_AUDIT: Final = ("WHEN", "WHO", "DID", "WHY")
_NEEDED: Final = ("AGENT", "ADB", "PHONE", "SINCE", "WHAT TO DO")
_MIB: Final = 1024 * 1024


def add(verbs: Subparsers) -> None:
    """Add `phonefarm phones show` and `needs-hands`."""
    show = add_verb(
        verbs,
        "show",
        "show one phone: its state, and why it is or is not offered",
        _show,
        notes=_NOTES,
    )
    add_phone(show)
    add_json(show)
    hands = add_verb(
        verbs, "needs-hands", "list what a person must do, and where", _hands, notes=_HANDS
    )
    add_json(hands)


async def _show(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = fleet_pb2.ShowPhoneRequest(phone_id=phone.phone_id)
    sheet = await controller.call(controller.fleet.ShowPhone, request)
    if options.json:
        print_json(message_dict(sheet))
        return
    for line in _head(sheet):
        echo(line)
    for warning in sheet.phone.warnings:
        warn(warning)
    _part(_REASONS, [_reason(reason) for reason in sheet.phone.reasons])
    _part(
        _AXES,
        [
            [axis.axis, axis.value, time_text(axis.since), axis.by, axis.reason]
            for axis in sheet.axes
        ],
    )
    _part(_STAGES, [_stage(stage) for stage in sheet.stages])
    _part(_FAILURES, [_failure(failure) for failure in sheet.failures])
    _part(_INCIDENTS, [_incident(incident) for incident in sheet.host.incidents])
    _part(_AUDIT, [_entry(entry) for entry in sheet.recovery])
    _part(_AUDIT, [_entry(entry) for entry in sheet.audit])


async def _hands(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = fleet_pb2.ListNeedsHandsRequest()
    needed = (await controller.call(controller.fleet.ListNeedsHands, request)).needed
    if options.json:
        print_json([message_dict(each) for each in needed])
        return
    rows = [
        [each.agent_id, each.adb_serial, each.phone_id or "-", time_text(each.since), each.reason]
        for each in needed
    ]
    print_table(_NEEDED, rows, empty="nothing: no phone needs a person")


def _part(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    if rows:
        echo("")
        print_table(columns, rows, empty="")


def _head(sheet: fleet_pb2.PhoneSheet) -> list[str]:
    phone, host = sheet.phone, sheet.host
    made = f"{phone.model} Android {phone.android_release}".strip()
    withheld = f"; all of its phones are withheld: {host.withheld}" if host.withheld else ""
    heard = (
        "connected" if host.connected else f"not connected, last heard {time_text(host.heard_at)}"
    )
    lines = [
        f"phone     {phone.phone_id} ({phone.serialno}), {made}",
        f"host      {phone.agent_id}, {heard}{withheld}; adb calls it {phone.adb_serial}",
        f"offered   {'yes' if phone.offered else 'no'}",
    ]
    if sheet.looked_at.ByteSize():
        lines.append(f"facts     {_facts(sheet)}")
    if sheet.rounds:
        lines.append(f"rounds    {sheet.rounds} quarantines by failures")
    if phone.run_id:
        lines.append(
            f"run       {phone.run_id} of process {phone.process_id}, epoch {phone.lease_epoch}"
        )
    return lines


def _facts(sheet: fleet_pb2.PhoneSheet) -> str:
    told = []
    if sheet.HasField("battery_percent"):
        told.append(f"battery {sheet.battery_percent} %")
    if sheet.HasField("battery_celsius"):
        told.append(f"{sheet.battery_celsius:.1f} C")
    if sheet.HasField("storage_free_bytes"):
        told.append(f"{sheet.storage_free_bytes // _MIB} MiB free")
    return f"{', '.join(told) or 'never read'}, as of {time_text(sheet.looked_at)}"


def _reason(reason: fleet_pb2.PhoneHindrance) -> list[str]:
    return [reason.reason, reason.detail, time_text(reason.until), reason.remedy]


def _stage(stage: agent_pb2.Stage) -> list[str]:
    state = agent_pb2.StageState.Name(stage.state).removeprefix("STAGE_STATE_").lower()
    return [stage.name, state, f"{stage.seconds:.1f}", f"{stage.limit_seconds:g}", stage.error]


def _failure(failure: fleet_pb2.PhoneFailure) -> list[str]:
    counts = "yes" if failure.counts else "no"
    what = f"{failure.blame}: {failure.code}"
    return [time_text(failure.at), what, counts, failure.process_id, failure.message]


def _incident(incident: fleet_pb2.HostIncidentState) -> list[str]:
    return [
        incident.kind,
        time_text(incident.began_at),
        time_text(incident.ended_at) or "it lasts",
        incident.seen_by,
        str(len(incident.phones)),
        incident.error,
    ]


def _entry(entry: fleet_pb2.AuditEntry) -> list[str]:
    return [time_text(entry.at), entry.actor, entry.verb, entry.reason]
