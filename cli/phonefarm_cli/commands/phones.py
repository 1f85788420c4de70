"""`phonefarm phones`: list, admit, maintain, retire, drain, release, return."""

import argparse
from typing import Final

from phonefarm.v1 import agent_pb2, fleet_pb2, operator_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import phones_hold, phones_show
from phonefarm_cli.console.connect import (
    PHONE_NAMES,
    Subparsers,
    add_json,
    add_phone,
    add_reason,
    add_verb,
    add_verbs,
    complete_phones,
)
from phonefarm_cli.console.drain_wait import wait_until_free
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.phone_lookup import find_phone, find_phones
from phonefarm_cli.console.tables import print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.terminal import echo, warn

_RELEASE_NOTES: Final = """\
Use this command for a run that does not end; cancel its process first. --epoch names the
run: if another run holds the phone by then, the command changes nothing. The agent stops the
run; its item is treated as after a failure of the host. The phone is free when its agent reports it
clean. If the agent does not answer for 90 s, the phone becomes dirty and waits for the
verb return.

example:
  phonefarm phones release SIM0001 --epoch 7 --reason "the run hangs"
"""
_DRAIN_NOTES: Final = """\
The phone gets work again after the verb admit. The controller takes back a run that is
prepared and has not acted yet; that attempt does not count. --wait prints the run still in progress
and exits when there is none. Ctrl-C ends the waiting, not the drain.

example:
  phonefarm phones drain SIM0001 --reason "it gets a new cable" --wait
"""
_COLUMNS = ("PHONE", "SERIAL", "ADB", "MODEL", "STATE", "LEASE", "OFFERED", "WHY NOT")


def add(commands: Subparsers) -> None:
    """Add `phonefarm phones` and its verbs."""
    verbs = add_verbs(
        commands, "phones", "list the phones, and admit, drain, hold, release or return them"
    )
    listing = add_verb(verbs, "list", "list all phones, and why they get no work", _list)
    add_json(listing)
    phones_show.add(verbs)
    admit = add_verb(
        verbs, "admit", "take phones into service: new phones, or phones in maintenance", _admit
    )
    complete_phones(admit.add_argument("phones", nargs="+", metavar="PHONE", help=PHONE_NAMES))
    add_reason(admit, required=False)
    for verb, about, handler in (
        ("maintain", "give a phone no work until you admit it again", _maintain),
        ("retire", "remove a phone from the farm; work that can use only this phone ends", _retire),
    ):
        parser = add_verb(verbs, verb, about, handler)
        add_phone(parser)
        add_reason(parser)
    drain = add_verb(
        verbs,
        "drain",
        "start no more runs on a phone; a run in progress continues",
        _drain,
        notes=_DRAIN_NOTES,
    )
    add_phone(drain)
    add_reason(drain)
    drain.add_argument(
        "--wait", action="store_true", help="wait, and exit when no run is left on the phone"
    )
    release = add_verb(
        verbs, "release", "take a phone from the run that drives it", _release, notes=_RELEASE_NOTES
    )
    add_phone(release)
    release.add_argument(
        "--epoch",
        required=True,
        type=int,
        metavar="N",
        help="epoch of the phone's lease, see `phonefarm phones list`",
    )
    add_reason(release)
    phones_hold.add(verbs)
    give_back = add_verb(
        verbs, "return", "end the quarantine of a phone that somebody has checked", _return
    )
    add_phone(give_back)
    add_reason(give_back, about="what you found and did; the audit records it")


async def _list(options: argparse.Namespace, controller: ControllerClient) -> None:
    phones = await controller.phones()
    if options.json:
        print_json([message_dict(phone) for phone in phones])
        return
    print_table(_COLUMNS, [_row(phone) for phone in phones], empty="no phone yet")


async def _admit(options: argparse.Namespace, controller: ControllerClient) -> None:
    for phone in await find_phones(controller, options.phones):
        request = fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        await controller.call(controller.fleet.AdmitPhone, request)
        echo(f"{phone.phone_id}: was {phone.intent}, is in service")


async def _maintain(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = fleet_pb2.MaintainPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
    after = await controller.call(controller.fleet.MaintainPhone, request)
    echo(f"{after.phone_id}: in {after.intent}{_goes_on(after)}")
    _warn(after)


async def _retire(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = fleet_pb2.RetirePhoneRequest(phone_id=phone.phone_id, reason=options.reason)
    after = await controller.call(controller.fleet.RetirePhone, request)
    echo(f"{after.phone_id}: {after.health}{_goes_on(after)}")
    _warn(after)


def _warn(phone: fleet_pb2.Phone) -> None:
    for warning in phone.warnings:
        warn(warning)


def _goes_on(phone: fleet_pb2.Phone) -> str:
    return f"; the process {phone.process_id} on the phone continues" if phone.process_id else ""


async def _return(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = fleet_pb2.ReturnPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
    after = await controller.call(controller.fleet.ReturnPhone, request)
    echo(f"{after.phone_id}: was {phone.health}, is {after.health}")


async def _drain(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = operator_pb2.DrainPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
    after = await controller.call(controller.operator.DrainPhone, request)
    echo(f"{after.phone_id}: {after.intent}{_goes_on(after)}")
    _warn(after)
    if options.wait:
        await wait_until_free(controller, lambda each: each.phone_id == after.phone_id)
        echo(f"{after.phone_id}: no run is on it")


async def _release(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = operator_pb2.ReleasePhoneRequest(
        phone_id=phone.phone_id, epoch=options.epoch, reason=options.reason
    )
    after = await controller.call(controller.operator.ReleasePhone, request)
    echo(
        f"{after.phone_id}: taken from the process {after.process_id}, whose run is "
        "being stopped; the phone is free when its agent reports it clean"
    )


def _row(phone: fleet_pb2.Phone) -> list[str]:
    transport = agent_pb2.Transport.Name(phone.transport).removeprefix("TRANSPORT_").lower()
    readiness = agent_pb2.Readiness.Name(phone.readiness).removeprefix("READINESS_").lower()
    return [
        phone.phone_id,
        phone.serialno,
        phone.adb_serial,
        phone.model,
        f"{transport}, {readiness}, {_health(phone)}",
        _lease(phone),
        "yes" if phone.offered else "no",
        "; ".join(_why(reason) for reason in phone.reasons),
    ]


def _health(phone: fleet_pb2.Phone) -> str:
    until = time_text(phone.health_until)
    return f"{phone.health} until {until}" if until else phone.health


def _why(reason: fleet_pb2.PhoneHindrance) -> str:
    return f"{reason.reason}: {reason.detail}" if reason.detail else reason.reason


def _lease(phone: fleet_pb2.Phone) -> str:
    epoch = f"epoch {phone.lease_epoch}" if phone.lease_epoch else ""
    return f"{phone.lease} {phone.process_id} {epoch}".strip()
