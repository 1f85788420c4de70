"""`phonefarm phones show` and `needs-hands`: all about a phone, and what people must do."""

import argparse
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import agent_pb2, fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands.windows import COLUMNS as WINDOWS
from phonefarm_cli.commands.windows import window_rows
from phonefarm_cli.console.connect import Subparsers, add_phone, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.terminal import echo, warn

_NOTES: Final = """\
Print why the phone is or is not offered, with remedies. Then print its axes: its agent reports
transport and readiness, the controller sets health and lease, and operators set intent. Then print
the windows of the phone, its groups and its accounts, the stages of its readiness, its failures,
its host's incidents, its recovery steps and its audit.
The section "Phones" in docs/operating.md explains what the controller does with a failing phone.
"""
_NEEDS_HANDS_NOTES: Final = """\
List the tasks that only a person can do: for example, allow debugging on a phone's screen, replace
a cable, charge a battery, or check a phone that is dirty or has failed too often. For an
unidentified device, the list shows its adb serial.
"""
_AXES: Final = ("AXIS", "STATE", "SINCE", "BY", "WHY")
_STAGES: Final = ("STAGE", "STATE", "SECONDS", "LIMIT", "LAST ERROR")
_REASONS: Final = ("WHY NOT", "DETAIL", "UNTIL", "WHAT HELPS")
_FAILURES: Final = ("FAILED", "CODE", "COUNTS", "PROCESS", "MESSAGE")
_INCIDENTS: Final = ("INCIDENT", "FROM", "TO", "SEEN BY", "PHONES", "ERROR")
_AUDIT: Final = ("WHEN", "WHO", "DID", "WHY")
_NEEDED: Final = ("AGENT", "ADB", "PHONE", "SINCE", "WHAT TO DO")
_OPTIONAL: Final = ("PROCESS", "BY", "UNTIL")
_MIB: Final = 1024 * 1024


def add(verbs: Subparsers) -> None:
    """Add `phonefarm phones show` and `needs-hands`."""
    show = add_verb(
        verbs,
        "show",
        "show the state of one phone, and why it is or is not offered",
        _show,
        notes=_NOTES,
    )
    add_phone(show)
    add_list(
        verbs,
        "needs-hands",
        "list what a person must do, and at which phones",
        _list_needs_hands,
        notes=_NEEDS_HANDS_NOTES,
    )


async def _show(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = fleet_pb2.ShowPhoneRequest(phone_id=phone.phone_id)
    details = await controller.call(controller.fleet.ShowPhone, request)
    if options.json:
        print_json(message_dict(details))
        return
    for line in _head(details):
        echo(line)
    for warning in details.phone.warnings:
        warn(warning)
    _print_part(_REASONS, [_reason(reason) for reason in details.phone.reasons])
    _print_part(
        _AXES,
        [[axis.axis, axis.value, axis.since, axis.by, axis.reason] for axis in details.axes],
    )
    _print_part(WINDOWS, window_rows(details.windows))
    _print_part(_STAGES, [_stage(stage) for stage in details.stages])
    _print_part(_FAILURES, [_failure(failure) for failure in details.failures])
    _print_part(_INCIDENTS, [_incident(incident) for incident in details.host.incidents])
    _print_part(_AUDIT, [_entry(entry) for entry in details.recovery])
    _print_part(_AUDIT, [_entry(entry) for entry in details.audit])


async def _list_needs_hands(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    request = fleet_pb2.ListNeedsHandsRequest()
    needed = (await controller.call(controller.fleet.ListNeedsHands, request)).needed
    return Listing(
        columns=_NEEDED,
        rows=[
            [each.agent_id, each.adb_serial, each.phone_id or "-", each.since, each.reason]
            for each in needed
        ],
        records=[message_dict(each) for each in needed],
        empty="no phone needs a person",
    )


def _print_part(columns: tuple[str, ...], rows: Sequence[Sequence[Cell]]) -> None:
    if rows:
        echo("")
        print_table(columns, rows, empty="", optional=[x for x in _OPTIONAL if x in columns])


def _head(details: fleet_pb2.PhoneDetails) -> list[str]:
    phone, host = details.phone, details.host
    made = f"{phone.model} Android {phone.android_release}".strip()
    withheld = (
        f"; the agent withholds all phones of the host: {host.withheld}" if host.withheld else ""
    )
    heard = (
        "connected" if host.connected else f"not connected, last message {time_text(host.heard_at)}"
    )
    lines = [
        f"phone     {phone.phone_id} ({phone.serialno}), {made}",
        f"host      {phone.agent_id}, {heard}{withheld}; its adb serial is {phone.adb_serial}",
        f"offered   {'yes' if phone.offered else 'no'}",
    ]
    if details.looked_at.ByteSize():
        lines.append(f"facts     {_facts(details)}")
    if details.rounds:
        lines.append(f"rounds    {details.rounds} quarantines because of failures")
    if phone.run_id:
        lines.append(
            f"run       {phone.run_id} of process {phone.process_id}, epoch {phone.lease_epoch}"
        )
    return lines


def _facts(details: fleet_pb2.PhoneDetails) -> str:
    told = []
    if details.HasField("battery_percent"):
        told.append(f"battery {details.battery_percent} %")
    if details.HasField("battery_celsius"):
        told.append(f"{details.battery_celsius:.1f} C")
    if details.HasField("storage_free_bytes"):
        told.append(f"{details.storage_free_bytes // _MIB} MiB free")
    # The agent looks all the time; the controller stores what it reports when it changes.
    since = "unchanged since" if details.host.connected else "as of"
    return f"{', '.join(told) or 'never read'}, {since} {time_text(details.looked_at)}"


def _reason(reason: fleet_pb2.PhoneHindrance) -> list[Cell]:
    return [reason.reason, reason.detail, reason.until, reason.remedy]


def _stage(stage: agent_pb2.Stage) -> list[Cell]:
    state = agent_pb2.StageState.Name(stage.state).removeprefix("STAGE_STATE_").lower()
    return [stage.name, state, f"{stage.seconds:.1f}", f"{stage.limit_seconds:g}", stage.error]


def _failure(failure: fleet_pb2.PhoneFailure) -> list[Cell]:
    counts = "yes" if failure.counts else "no"
    what = f"{failure.blame}: {failure.code}"
    return [failure.at, what, counts, failure.process_id, failure.message]


def _incident(incident: fleet_pb2.HostIncidentState) -> list[Cell]:
    return [
        incident.kind,
        incident.began_at,
        incident.ended_at if incident.HasField("ended_at") else "it lasts",
        incident.seen_by,
        str(len(incident.phones)),
        incident.error,
    ]


def _entry(entry: fleet_pb2.AuditEntry) -> list[Cell]:
    return [entry.at, entry.actor, entry.verb, entry.reason]
