"""`phonefarm phones`: admit, maintain, retire, drain, release, return; others have own modules."""

import argparse
from typing import Final

from phonefarm.v1 import fleet_pb2, operator_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import phones_hold, phones_list, phones_show
from phonefarm_cli.console.connect import Subparsers, add_phone, add_reason, add_verb, add_verbs
from phonefarm_cli.console.drain_wait import wait_until_free
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.phone_lookup import find_phone
from phonefarm_cli.console.phone_selection import add_phone_selection, change_phones
from phonefarm_cli.terminal import echo

_ADMIT_NOTES: Final = """\
examples:
  phonefarm phones admit SIM0001 SIM0002
  phonefarm phones admit --all-new
  phonefarm phones admit --host host-1 --reason "the new kernel runs"
"""
_RELEASE_NOTES: Final = """\
Use this command if a run does not stop; first try to cancel its process. --epoch identifies the
run: if another run has the phone by now, the command changes nothing. The agent stops the run, and
the farm treats the run's item as if the host had failed. The phone is free when its agent reports
that the phone is clean. If the agent does not answer for 90 s, the phone becomes dirty. It stays
dirty until you run `phonefarm phones return PHONE --reason TEXT`.

example:
  phonefarm phones release SIM0001 --epoch 7 --reason "the run hangs"
"""
_DRAIN_NOTES: Final = """\
The phone gets work again when you run `phonefarm phones admit PHONE`. If a run is prepared but has
not acted yet, the controller takes it back, and does not count it as an attempt. With --wait, the
command prints the run that is still in progress, and exits when no runs are left. Ctrl-C stops the
waiting, but does not end the drain.

examples:
  phonefarm phones drain SIM0001 --reason "it gets a new cable" --wait
  phonefarm phones drain --group rack-1 --reason "the rack moves"
"""
_IN_SERVICE: Final = "in_service"
_QUARANTINED: Final = "quarantined"


def add(commands: Subparsers) -> None:
    """Add `phonefarm phones` and its verbs."""
    verbs = add_verbs(
        commands, "phones", "list the phones, and admit, drain, hold, release or return them"
    )
    phones_list.add(verbs)
    phones_show.add(verbs)
    admit = add_verb(
        verbs,
        "admit",
        "take phones into service: new phones, or phones in maintenance",
        _admit,
        notes=_ADMIT_NOTES,
    )
    add_phone_selection(admit, all_new=True)
    add_reason(admit, required=False)
    for verb, about, handler in (
        ("maintain", "give phones no work until you admit them again", _maintain),
        ("retire", "remove phones from the farm; work that can use only them ends", _retire),
    ):
        parser = add_verb(verbs, verb, about, handler)
        add_phone_selection(parser)
        add_reason(parser)
    drain = add_verb(
        verbs,
        "drain",
        "start no more runs on phones; runs in progress continue",
        _drain,
        notes=_DRAIN_NOTES,
    )
    add_phone_selection(drain)
    add_reason(drain)
    drain.add_argument(
        "--wait", action="store_true", help="wait, and exit when no runs are left on the phones"
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
        help="epoch of the phone's lease; see `phonefarm phones list`",
    )
    add_reason(release)
    phones_hold.add(verbs)
    give_back = add_verb(
        verbs,
        "return",
        "end the quarantine or dirty state of phones that somebody has checked",
        _return,
    )
    add_phone_selection(give_back)
    add_reason(give_back, about="what you found and did; the audit records it")


async def _admit(options: argparse.Namespace, controller: ControllerClient) -> None:
    async def admit(phone: fleet_pb2.Phone) -> fleet_pb2.Phone:
        request = fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        return await controller.call(controller.fleet.AdmitPhone, request)

    await change_phones(
        options,
        controller,
        admit,
        lambda before, after: f"{after.phone_id}: was {before.intent}, is in service",
        concerns=lambda phone: phone.intent != _IN_SERVICE,
    )


async def _maintain(options: argparse.Namespace, controller: ControllerClient) -> None:
    async def maintain(phone: fleet_pb2.Phone) -> fleet_pb2.Phone:
        request = fleet_pb2.MaintainPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        return await controller.call(controller.fleet.MaintainPhone, request)

    await change_phones(
        options,
        controller,
        maintain,
        lambda _, after: f"{after.phone_id}: in {after.intent}{_goes_on(after)}",
    )


async def _retire(options: argparse.Namespace, controller: ControllerClient) -> None:
    async def retire(phone: fleet_pb2.Phone) -> fleet_pb2.Phone:
        request = fleet_pb2.RetirePhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        return await controller.call(controller.fleet.RetirePhone, request)

    await change_phones(
        options,
        controller,
        retire,
        lambda _, after: f"{after.phone_id}: {after.health}{_goes_on(after)}",
    )


async def _return(options: argparse.Namespace, controller: ControllerClient) -> None:
    async def give_back(phone: fleet_pb2.Phone) -> fleet_pb2.Phone:
        request = fleet_pb2.ReturnPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        return await controller.call(controller.fleet.ReturnPhone, request)

    await change_phones(
        options,
        controller,
        give_back,
        lambda before, after: f"{after.phone_id}: was {before.health}, is {after.health}",
        concerns=lambda phone: phone.health == _QUARANTINED,
    )


async def _drain(options: argparse.Namespace, controller: ControllerClient) -> None:
    async def drain(phone: fleet_pb2.Phone) -> fleet_pb2.Phone:
        request = operator_pb2.DrainPhoneRequest(phone_id=phone.phone_id, reason=options.reason)
        return await controller.call(controller.operator.DrainPhone, request)

    drained = await change_phones(
        options,
        controller,
        drain,
        lambda _, after: f"{after.phone_id}: {after.intent}{_goes_on(after)}",
    )
    if options.wait:
        names = {phone.phone_id for phone in drained}
        await wait_until_free(controller, lambda each: each.phone_id in names)
        if not options.json:
            them = "it" if len(names) == 1 else "them"
            echo(f"{', '.join(sorted(names))}: no runs are left on {them}")


def _goes_on(phone: fleet_pb2.Phone) -> str:
    return f"; the process {phone.process_id} on the phone continues" if phone.process_id else ""


async def _release(options: argparse.Namespace, controller: ControllerClient) -> None:
    phone = await find_phone(controller, options.phone)
    request = operator_pb2.ReleasePhoneRequest(
        phone_id=phone.phone_id, epoch=options.epoch, reason=options.reason
    )
    after = await controller.call(controller.operator.ReleasePhone, request)
    print_result(
        options,
        after,
        f"{after.phone_id}: taken from the process {after.process_id}, whose run is being "
        "stopped; the phone is free when its agent reports that it is clean",
    )
