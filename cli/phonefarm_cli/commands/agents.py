"""`phonefarm agents`: list, invite, drain, undrain, revoke."""

import argparse
from typing import Final

from phonefarm.v1 import access_pb2, fleet_pb2, operator_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_reason, add_verb, add_verbs
from phonefarm_cli.console.drain_wait import wait_until_free
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.tables import Cell, counted
from phonefarm_cli.console.times import duration, minute_text
from phonefarm_cli.terminal import echo, note_stderr

_COLUMNS = (
    "AGENT",
    "CONNECTED",
    "PHONES",
    "VERSION",
    "RUNTIME",
    "HEARD",
    "CERTIFICATE UNTIL",
    "DRAINING",
)
_DRAIN_NOTES: Final = """\
No controller starts runs on the host's phones until you run `phonefarm agents undrain ID --reason
TEXT`. A restart of the agent or of a controller does not end the drain. If a run is prepared but
has not acted yet, the controller takes it back, and does not count it as an attempt. With --wait,
the command lists the runs that are still in progress, and exits when no runs are left. Ctrl-C stops
the waiting, but does not end the drain.

example:
  phonefarm agents drain host-1 --reason "a new kernel" --wait
"""
_A: Final = {"agent": "an agent", "gateway": "a gateway"}
_INVITE_NOTES: Final = """\
The token is for one host and works once. On that host, run:
  phonefarm-{role} join TOKEN

examples:
  phonefarm {noun} invite
  phonefarm {noun} invite --{role}-id host-1 --for 1h
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm agents` and its verbs."""
    verbs = add_verbs(
        commands, "agents", "list the agents, invite a host, drain or revoke an agent"
    )
    add_list(
        verbs, "list", "list all agents, with the times at which their certificates expire", _list
    )
    add_invite(verbs, role="agent")
    drain = add_verb(
        verbs,
        "drain",
        "start no more runs on a host; runs in progress continue",
        _drain,
        notes=_DRAIN_NOTES,
    )
    drain.add_argument(
        "agent_id", metavar="ID", help="id of the agent; see `phonefarm agents list`"
    )
    add_reason(drain, about="the reason; the lists show it and the audit records it")
    drain.add_argument(
        "--wait",
        action="store_true",
        help="wait, and exit when no runs are left on the host's phones",
    )
    undrain = add_verb(verbs, "undrain", "give a drained host work again", _undrain)
    undrain.add_argument(
        "agent_id", metavar="ID", help="id of the agent; see `phonefarm agents list`"
    )
    add_reason(undrain, required=False)
    add_revoke(verbs, role="agent")


def add_invite(verbs: Subparsers, *, role: str) -> None:
    """Add the verb that invites a host as an agent or a gateway."""
    invite = add_verb(
        verbs,
        "invite",
        f"print a token with which one host can join the farm as {_A[role]}",
        _invite,
        notes=_INVITE_NOTES.format(role=role, noun=f"{role}s"),
    )
    invite.set_defaults(role=role)
    invite.add_argument(
        f"--{role}-id",
        "--agent-id",
        dest="member_id",
        default="",
        metavar="ID",
        help=f"id of the {role}; required if the host has joined the farm before",
    )
    if role == "agent":
        invite.add_argument(
            "--gateway",
            dest="role",
            action="store_const",
            const="gateway",
            help="invite a gateway, as `phonefarm gateways invite` does",
        )
    invite.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=900,
        metavar="DURATION",
        help="how long the token is valid: up to 24h (15m)",
    )
    add_reason(invite, required=False)


def add_revoke(verbs: Subparsers, *, role: str) -> None:
    """Add the verb that revokes an agent or a gateway."""
    revoke = add_verb(
        verbs,
        "revoke",
        f"revoke {_A[role]}'s certificates and end its session, at once",
        _revoke,
    )
    revoke.set_defaults(role=role)
    revoke.add_argument(
        "member_id", metavar="ID", help=f"id of the {role}, as the verb list shows it"
    )
    if role == "agent":
        revoke.add_argument(
            "--gateway",
            dest="role",
            action="store_const",
            const="gateway",
            help="revoke a gateway, as `phonefarm gateways revoke ID` does",
        )
    add_reason(revoke, required=False)


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    answer = await controller.call(controller.fleet.ListAgents, fleet_pb2.ListAgentsRequest())
    agents = answer.agents
    connected = sum(agent.connected for agent in agents)
    phones = counted(sum(agent.phones for agent in agents), "phone")
    return Listing(
        columns=_COLUMNS,
        rows=[_row(agent) for agent in agents],
        records=[message_dict(agent) for agent in agents],
        empty="no agent yet",
        optional=("RUNTIME", "VERSION", "CERTIFICATE UNTIL"),
        summary=f"{counted(len(agents), 'agent')}: {connected} connected, {phones}",
    )


async def _invite(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.InviteRequest(
        role=options.role,
        member_id=options.member_id,
        good_for_seconds=options.seconds,
        reason=options.reason,
    )
    invited = await controller.call(controller.access.Invite, request)
    if options.json:
        print_json(message_dict(invited))
        return
    who = f"{options.role} {options.member_id}".strip()
    # The token alone on stdout, so that a script can take it.
    note_stderr(
        f"The token is for one {who}, works once, and is valid until "
        f"{minute_text(invited.expires_at)}. Run on its host: phonefarm-{options.role} join "
        "TOKEN",
    )
    print(invited.token)


async def _drain(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = operator_pb2.DrainAgentRequest(agent_id=options.agent_id, reason=options.reason)
    agent = await controller.call(controller.operator.DrainAgent, request)
    print_result(options, agent, f"{agent.agent_id}: draining; runs in progress continue")
    if options.wait:
        await wait_until_free(controller, lambda phone: phone.agent_id == agent.agent_id)
        if not options.json:
            echo(f"{agent.agent_id}: no runs are left on its phones")


async def _undrain(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = operator_pb2.UndrainAgentRequest(agent_id=options.agent_id, reason=options.reason)
    answer = await controller.call(controller.operator.UndrainAgent, request)
    what = "gets work again" if answer.undrained else "was not draining"
    print_result(options, answer, f"{options.agent_id}: {what}")


async def _revoke(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = access_pb2.RevokeMemberRequest(
        role=options.role, member_id=options.member_id, reason=options.reason
    )
    answer = await controller.call(controller.access.RevokeMember, request)
    print_result(
        options,
        answer,
        f"{options.member_id}: revoked ({counted(answer.certificates, 'certificate')}); it needs a "
        "new invitation to join again",
    )


def _row(agent: fleet_pb2.Agent) -> list[Cell]:
    return [
        agent.agent_id,
        "yes" if agent.connected else "no",
        str(agent.phones),
        agent.version,
        agent.runtime,
        agent.last_heartbeat_at,
        agent.certificate_expires_at,
        f"by {agent.drain_by}: {agent.drain_reason}" if agent.HasField("drain_since") else "",
    ]
