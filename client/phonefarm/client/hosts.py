"""Shows hosts of phones, drains them, invites and revokes them."""

from typing import Literal

from phonefarm.client.transport import Transport, given, place
from phonefarm.schemas import farm, farm_requests


class AsyncHosts:
    """Hosts: each runs one agent."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> farm.AgentList:
        """Return the agent of every host."""
        return await self._transport.send("GET", "/agents", farm.AgentList)

    async def incidents(self) -> farm.IncidentList:
        """Return the incidents that last, and those that ended within the last hour."""
        return await self._transport.send("GET", "/incidents", farm.IncidentList)

    async def drain(self, agent_id: str, *, reason: str) -> farm.Agent:
        """Give the phones of a host no new runs (scope operate)."""
        body = farm_requests.Because(reason=reason)
        path = place("/agents/{agent}/drain", agent=agent_id)
        return await self._transport.send("POST", path, farm.Agent, body=body)

    async def undrain(self, agent_id: str, *, reason: str = "") -> farm.Undrained:
        """Give the phones of a host work again (scope operate)."""
        body = farm_requests.PerhapsBecause(reason=reason)
        path = place("/agents/{agent}/undrain", agent=agent_id)
        return await self._transport.send("POST", path, farm.Undrained, body=body)

    async def invite(
        self,
        role: Literal["agent", "gateway"] = "agent",
        *,
        member_id: str | None = None,
        good_for_seconds: int = 900,
        reason: str = "",
    ) -> farm.Invitation:
        """Return a token with which one host joins, once (scope admin).

        Without *member_id* the host chooses its name. This request is not repeated by itself.
        ConflictError if the farm accepts no hosts.
        """
        body = farm_requests.Invite(
            role=role,
            good_for_seconds=good_for_seconds,
            reason=reason,
            **given(member_id=member_id),
        )
        return await self._transport.send(
            "POST", "/invitations", farm.Invitation, body=body, repeatable=False
        )

    async def revoke(
        self, role: Literal["agent", "gateway"], member_id: str, *, reason: str = ""
    ) -> farm.MemberRevoked:
        """End all certificates of a host (scope admin); it needs a new invitation to join again."""
        body = farm_requests.PerhapsBecause(reason=reason)
        path = place("/{role}s/{member}/revoke", role=role, member=member_id)
        return await self._transport.send("POST", path, farm.MemberRevoked, body=body)
