"""Endpoints of hosts: agents, incidents, invitations, and members whose certificates end."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import farm
from phonefarm.schemas.farm_requests import Because, Invite, PerhapsBecause
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

TAG: Final = "Hosts"


async def list_agents(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every agent."""
    return reply(await call.controller.fleet.agents(call.key))


async def list_incidents(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the incidents that last, and those of the last hour."""
    return reply(await call.controller.fleet.incidents(call.key))


async def drain(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Give the phones of a host no more work."""
    operator = call.controller.operator
    return reply(await operator.drain_agent(call.key, call.path["agent_id"], call.body.reason))


async def undrain(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """Give the phones of a host work again."""
    operator = call.controller.operator
    return reply(await operator.undrain_agent(call.key, call.path["agent_id"], call.body.reason))


async def invite(call: Call[NoQuery, Invite]) -> web.StreamResponse:
    """Return a token with which one host joins."""
    return reply(await call.controller.access.invite(call.key, call.body))


async def revoke_agent(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """End an agent's certificates and its session."""
    access, agent_id = call.controller.access, call.path["agent_id"]
    return reply(await access.revoke_member(call.key, "agent", agent_id, call.body.reason))


async def revoke_gateway(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """End a gateway's certificates."""
    access, gateway_id = call.controller.access, call.path["gateway_id"]
    return reply(await access.revoke_member(call.key, "gateway", gateway_id, call.body.reason))


_REVOKED: Final = {
    HTTPStatus.OK: ResponseSpec(
        about="To join again, the member needs a new invitation.", models=(farm.MemberRevoked,)
    )
}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/agents",
        name="listAgents",
        tag=TAG,
        summary="List the agents, with their connections, drains and certificates",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All agents.", models=(farm.AgentList,))},
        handler=list_agents,
    ),
    Endpoint(
        method="GET",
        path="/incidents",
        name="listIncidents",
        tag=TAG,
        summary="List the current host incidents, and those that ended within the last hour",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The incidents, ordered by host; for each host, oldest first.",
                models=(farm.IncidentList,),
            )
        },
        handler=list_incidents,
    ),
    Endpoint(
        method="POST",
        path="/agents/{agent_id}/drain",
        name="drainAgent",
        tag=TAG,
        summary="Start no more runs on a host; runs in progress continue",
        about=(
            "The drain lasts until you call `undrain`, even after restarts. If you repeat the "
            "request, it replaces the reason."
        ),
        scope="operate",
        query=NoQuery,
        body=Because,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The agent as it is now.", models=(farm.Agent,))
        },
        handler=drain,
    ),
    Endpoint(
        method="POST",
        path="/agents/{agent_id}/undrain",
        name="undrainAgent",
        tag=TAG,
        summary="Give a drained host work again",
        scope="operate",
        query=NoQuery,
        body=PerhapsBecause,
        body_optional=True,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The host gets work again.", models=(farm.Undrained,))
        },
        handler=undrain,
    ),
    Endpoint(
        method="POST",
        path="/agents/{agent_id}/revoke",
        name="revokeAgent",
        tag=TAG,
        summary="Revoke an agent's certificates and end its session, at once",
        scope="admin",
        query=NoQuery,
        body=PerhapsBecause,
        body_optional=True,
        answers=_REVOKED,
        handler=revoke_agent,
    ),
    Endpoint(
        method="POST",
        path="/gateways/{gateway_id}/revoke",
        name="revokeGateway",
        tag=TAG,
        summary="Revoke a gateway's certificates, at once",
        scope="admin",
        query=NoQuery,
        body=PerhapsBecause,
        body_optional=True,
        answers=_REVOKED,
        handler=revoke_gateway,
    ),
    Endpoint(
        method="POST",
        path="/invitations",
        name="invite",
        tag=TAG,
        summary="Create a token with which one host can join once",
        about=(
            "Only this response shows the token. If you repeat the request, the farm creates "
            "another token; the first token stays valid until it expires."
        ),
        scope="admin",
        query=NoQuery,
        body=Invite,
        body_optional=True,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The token, for `phonefarm-agent join TOKEN`.", models=(farm.Invitation,)
            )
        },
        problems={
            HTTPStatus.CONFLICT: (
                "`joining_closed`: other hosts cannot join, because the controller does not "
                "listen for them"
            )
        },
        handler=invite,
    ),
)
