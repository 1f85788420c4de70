"""`phonefarm alerts`: list, test, replay."""

import argparse
from typing import Final

from phonefarm.v1 import doctor_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_verb, add_verbs
from phonefarm_cli.console.json_output import message_dict, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.errors import CommandError, ExitCode

_COLUMNS = ("SEQUENCE", "EVENT", "STATUS", "ATTEMPTS", "EMITTED", "TEXT", "LAST ERROR")
_NO_URL: Final = (
    "the farm sends no alerts: set PHONEFARM_ALERT_URL(_FILE) for every controller, and restart it"
)
_NOTES: Final = """\
The farm sends events to the alert URL of its controllers (PHONEFARM_ALERT_URL). It sends an event
when a check of `phonefarm doctor` has been wrong for 60 s, and another when the check has been ok
for 5 minutes. Each event contains all alerts that are on. The gateways send and sign events as they
send and sign callbacks (docs/monitoring.md).

An event is dead when the farm has tried to send it for 24 hours and has given up. It is stopped
when the receiver has responded with 410: the farm then sends no more alerts until you replay an
event.

examples:
  phonefarm alerts test
  phonefarm alerts list
  phonefarm alerts replay
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm alerts` and its verbs."""
    verbs = add_verbs(commands, "alerts", "list, test and replay what the farm reports by webhook")
    add_list(verbs, "list", "list the last 100 events, newest first", _list, notes=_NOTES)
    add_verb(verbs, "test", "send an event that reports no change", _test, notes=_NOTES)
    replay = add_verb(verbs, "replay", "send an event again", _replay, notes=_NOTES)
    replay.add_argument(
        "sequence",
        nargs="?",
        type=int,
        metavar="SEQUENCE",
        help="the event to send again (default: the newest)",
    )


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    answer = await _events(controller)
    return Listing(
        columns=_COLUMNS,
        rows=[
            [
                str(event.sequence),
                event.event_type,
                event.status,
                str(event.attempts),
                event.emitted_at,
                event.text,
                event.last_error,
            ]
            for event in answer.events
        ],
        records=[message_dict(event) for event in answer.events],
        empty="no event yet",
        optional=("ATTEMPTS", "EVENT"),
        summary=f"to {answer.receiver}" if answer.receiver else "",
        more="" if answer.receiver else _NO_URL,
    )


async def _test(options: argparse.Namespace, controller: ControllerClient) -> None:
    event = await controller.call(
        controller.doctor.SendTestAlert, doctor_pb2.SendTestAlertRequest()
    )
    _show(options, event)


async def _replay(options: argparse.Namespace, controller: ControllerClient) -> None:
    sequence = options.sequence
    if sequence is None:
        events = (await _events(controller)).events
        if not events:
            raise CommandError("the farm has sent no event yet", ExitCode.FAILED)
        sequence = events[0].sequence
    request = doctor_pb2.ReplayAlertEventRequest(sequence=sequence)
    _show(options, await controller.call(controller.doctor.ReplayAlertEvent, request))


async def _events(controller: ControllerClient) -> doctor_pb2.ListAlertEventsResponse:
    return await controller.call(
        controller.doctor.ListAlertEvents, doctor_pb2.ListAlertEventsRequest()
    )


def _show(options: argparse.Namespace, event: doctor_pb2.AlertEvent) -> None:
    line = f"event {event.sequence} is being sent; `phonefarm alerts list` shows whether it arrives"
    print_result(options, event, line)
