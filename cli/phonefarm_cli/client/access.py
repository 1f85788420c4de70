"""AccessService: API keys and members."""

from typing import Any

from phonefarm.v1 import access_pb2, access_pb2_grpc

from phonefarm_cli.client.wire import Wire


class AccessClient:
    """Makes, lists and revokes keys; invites and revokes members."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = access_pb2_grpc.AccessServiceStub(wire.channel)

    async def create(self, request: access_pb2.CreateKeyRequest) -> access_pb2.CreateKeyResponse:
        """Make a key; its text is in this answer and nowhere else."""
        made: access_pb2.CreateKeyResponse = await self._wire.answer(self._stub.CreateKey, request)
        return made

    async def keys(self) -> list[access_pb2.ApiKey]:
        """Return the keys by name, then the revoked ones."""
        answer = await self._wire.answer(self._stub.ListKeys, access_pb2.ListKeysRequest())
        return list(answer.keys)

    async def revoke(self, name: str) -> access_pb2.ApiKey:
        """End a key for good."""
        request = access_pb2.RevokeKeyRequest(name=name)
        key: access_pb2.ApiKey = await self._wire.answer(self._stub.RevokeKey, request)
        return key

    async def invite(
        self, role: str, member_id: str, seconds: int, reason: str
    ) -> access_pb2.InviteResponse:
        """Return a token with which one host joins, told this once."""
        request = access_pb2.InviteRequest(
            role=role, member_id=member_id, good_for_seconds=seconds, reason=reason
        )
        invited: access_pb2.InviteResponse = await self._wire.answer(self._stub.Invite, request)
        return invited

    async def revoke_member(self, role: str, member_id: str, reason: str) -> int:
        """End a member's certificates; return how many still counted."""
        request = access_pb2.RevokeMemberRequest(role=role, member_id=member_id, reason=reason)
        answer = await self._wire.answer(self._stub.RevokeMember, request)
        return int(answer.certificates)
