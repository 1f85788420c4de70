"""`phonefarm gateways`: list, invite, revoke."""

import argparse
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands import agents
from phonefarm_cli.console.connect import Subparsers, add_verbs
from phonefarm_cli.console.json_output import message_dict
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.tables import Cell, counted

_COLUMNS: Final = ("GATEWAY", "CONNECTED", "SIGNS", "CERTIFICATE UNTIL", "REFUSED")
_NOTES: Final = """\
CONNECTED shows whether the gateway has called the controller that serves this command within the
last 120 s. If the farm has several controllers, the gateway may be calling another controller.
SIGNS shows whether the gateway signs callbacks. REFUSED shows why the controller refused the
gateway's last call; `phonefarm doctor` prints the remedy.
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm gateways` and its verbs."""
    verbs = add_verbs(commands, "gateways", "list the gateways, invite or revoke a gateway")
    add_list(
        verbs,
        "list",
        "list the gateways that have joined the farm or call it",
        _list,
        notes=_NOTES,
    )
    agents.add_invite(verbs, role="gateway")
    agents.add_revoke(verbs, role="gateway")


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    request = fleet_pb2.ListGatewaysRequest()
    gateways = (await controller.call(controller.fleet.ListGateways, request)).gateways
    connected = sum(gateway.connected for gateway in gateways)
    return Listing(
        columns=_COLUMNS,
        rows=[_row(gateway) for gateway in gateways],
        records=[message_dict(gateway) for gateway in gateways],
        empty="no gateways yet",
        summary=f"{counted(len(gateways), 'gateway')}: {connected} connected",
    )


def _row(gateway: fleet_pb2.Gateway) -> list[Cell]:
    signs = ("yes" if gateway.signs else "no") if gateway.HasField("signs") else ""
    return [
        gateway.gateway_id,
        "yes" if gateway.connected else "no",
        signs,
        gateway.certificate_expires_at,
        gateway.refused,
    ]
