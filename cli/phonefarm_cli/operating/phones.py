"""`phonefarm phones`."""

import argparse

from phonefarm.v1 import agent_pb2, fleet_pb2

from phonefarm_cli.controller import Controller
from phonefarm_cli.operating.finding import find_phone
from phonefarm_cli.operating.reaching import add_verb, add_verbs
from phonefarm_cli.operating.tables import show_table
from phonefarm_cli.screen import tell

_COLUMNS = ("PHONE", "SERIAL", "ADB", "MODEL", "STATE", "LEASE", "OFFERED", "WHY NOT")


def add_phones(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its verbs."""
    verbs = add_verbs(commands, "phones", "the phones: list them, return one to service")
    add_verb(verbs, "list", "list every phone and whether work can be given to it", _list)
    back = add_verb(verbs, "return", "end a phone's quarantine, once somebody looked at it", _back)
    back.add_argument("phone", metavar="PHONE", help="phone_id, adb serial or serial number")
    back.add_argument(
        "--reason", required=True, metavar="TEXT", help="what was seen and done; it is kept"
    )


async def _list(options: argparse.Namespace, controller: Controller) -> None:
    rows = [_row(phone) for phone in await controller.fleet.phones()]
    show_table(_COLUMNS, rows, empty="no phone yet")


async def _back(options: argparse.Namespace, controller: Controller) -> None:
    phone = await find_phone(controller, options.phone)
    after = await controller.fleet.give_back(phone.phone_id, options.reason)
    tell(f"{after.phone_id}: was {phone.health}, is {after.health}")


def _row(phone: fleet_pb2.Phone) -> list[str]:
    transport = agent_pb2.Transport.Name(phone.transport).removeprefix("TRANSPORT_").lower()
    readiness = agent_pb2.Readiness.Name(phone.readiness).removeprefix("READINESS_").lower()
    reasons = [phone.readiness_reason, phone.health_reason]
    reasons += [phone.intent] if phone.intent != "in_service" else []
    return [
        phone.phone_id,
        phone.serialno,
        phone.adb_serial,
        phone.model,
        f"{transport}, {readiness}, {phone.health}",
        f"{phone.lease} {phone.process_id}".strip(),
        "yes" if phone.offered else "no",
        "; ".join(reason for reason in reasons if reason),
    ]
