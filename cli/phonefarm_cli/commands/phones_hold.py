"""`phonefarm phones hold` and `unhold`: reserve a phone for a person, with adb access."""

import argparse
import asyncio
from typing import Final

from phonefarm.v1 import operator_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_phone, add_reason, add_verb
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.times import duration, time_text
from phonefarm_cli.errors import CommandError
from phonefarm_cli.terminal import note_stderr

POLL_SECONDS: Final = 0.3
_WAITING: Final = frozenset({"QUEUED", "SCHEDULED", "CLAIMED"})
_NOTES: Final = """\
During the hold, only you drive the phone. The hold begins when the phone's current run ends. It
comes before all other work, and begins even while work is paused. You can also hold a phone that is
in quarantine or maintenance, if its agent finds it fit. The command prints the address of an adb
server for this phone only. The server listens on the loopback interface of the phone's host. Shell,
install, push and pull work; reboot, root, tcpip and forward do not. When the hold ends, the agent
closes the adb connections and cleans the phone as it does after a run.

examples:
  phonefarm phones hold SIM0001 --for 30m --reason "the app looks odd"
  phonefarm phones unhold SIM0001 --reason "seen enough"
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm phones hold` and `unhold`."""
    hold = add_verb(
        verbs, "hold", "reserve a phone for yourself, with adb access", _hold, notes=_NOTES
    )
    add_phone(hold)
    hold.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=1800,
        metavar="DURATION",
        help="how long you want to hold the phone: up to 3h (30m)",
    )
    hold.add_argument(
        "--wait",
        type=duration,
        default=600,
        metavar="DURATION",
        help="how long to wait for the phone to become free (10m)",
    )
    add_reason(hold)
    unhold = add_verb(verbs, "unhold", "end a phone's hold at once", _unhold)
    add_phone(unhold)
    add_reason(unhold, required=False)


async def _hold(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = operator_pb2.HoldPhoneRequest(
        phone_id=phone.phone_id,
        seconds=options.seconds,
        wait_seconds=options.wait,
        reason=options.reason,
    )
    hold = await controller.call(controller.operator.HoldPhone, request)
    if phone.process_id:
        note_stderr(f"{phone.phone_id}: waiting for the process {phone.process_id} on this phone")
    try:
        while hold.state in _WAITING:
            await asyncio.sleep(POLL_SECONDS)
            again = operator_pb2.GetHoldRequest(process_id=hold.process_id)
            hold = await controller.call(controller.operator.GetHold, again)
    except asyncio.CancelledError:  # Ctrl-C: nobody will use the hold
        await _end_hold(
            controller, phone.phone_id, "the command that requested the hold was interrupted"
        )
        raise
    if hold.state != "EXECUTING":
        explained = f"see `phonefarm processes timeline {hold.process_id}`"
        raise CommandError(f"{phone.phone_id} is not held: {hold.why or hold.state}; {explained}")
    port = hold.address.rpartition(":")[2]
    print_result(
        options,
        hold,
        f"{phone.phone_id}: held until {time_text(hold.until)}, process {hold.process_id}",
        f"on the host of {hold.agent_id}:  adb -P {port} shell",
        f"                 or:  ANDROID_ADB_SERVER_PORT={port} adb shell",
        f"from another machine, first run: ssh -L {port}:{hold.address} HOST",
    )


async def _unhold(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    hold = await _end_hold(controller, phone.phone_id, options.reason)
    print_result(options, hold, f"{phone.phone_id}: the hold {hold.process_id} ends")


async def _end_hold(controller: ControllerClient, phone_id: str, reason: str) -> operator_pb2.Hold:
    request = operator_pb2.UnholdPhoneRequest(phone_id=phone_id, reason=reason)
    return await controller.call(controller.operator.UnholdPhone, request)
