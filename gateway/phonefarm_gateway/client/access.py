"""AccessService: API keys, invitations and members."""

from typing import Literal

import grpc.aio
from phonefarm.schemas import farm, farm_requests, operation
from phonefarm.v1 import access_pb2 as pb
from phonefarm.v1 import access_pb2_grpc

from phonefarm_gateway.client import farm_convert
from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import moment, timestamp


class AccessClient:
    """Makes and revokes keys; invites and revokes hosts."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = access_pb2_grpc.AccessServiceStub(channel)
        self._rpc = rpc

    async def keys(self, key: str | None) -> operation.ApiKeyList:
        """Return every key."""
        answer = await self._rpc.call(self._stub.ListKeys, pb.ListKeysRequest(), key=key)
        return operation.ApiKeyList(keys=tuple(farm_convert.api_key(one) for one in answer.keys))

    async def create_key(
        self, key: str | None, body: farm_requests.CreateKey
    ) -> operation.NewApiKey:
        """Create a key."""
        request = pb.CreateKeyRequest(
            name=body.name, scopes=body.scopes, expires_at=timestamp(body.expires_at)
        )
        answer = await self._rpc.call(self._stub.CreateKey, request, key=key)
        return operation.NewApiKey(**dict(farm_convert.api_key(answer.key)), secret=answer.secret)

    async def revoke_key(self, key: str | None, name: str) -> operation.ApiKey:
        """End a key."""
        request = pb.RevokeKeyRequest(name=name)
        return farm_convert.api_key(await self._rpc.call(self._stub.RevokeKey, request, key=key))

    async def invite(self, key: str | None, body: farm_requests.Invite) -> farm.Invitation:
        """Return a token with which one host joins."""
        request = pb.InviteRequest(
            role=body.role,
            member_id=body.member_id or "",
            good_for_seconds=body.good_for_seconds,
            reason=body.reason,
        )
        answer = await self._rpc.call(self._stub.Invite, request, key=key)
        return farm.Invitation(
            role=body.role,
            member_id=body.member_id,
            token=answer.token,
            expires_at=moment(answer.expires_at),
        )

    async def revoke_member(
        self, key: str | None, role: Literal["agent", "gateway"], member_id: str, reason: str
    ) -> farm.MemberRevoked:
        """End every certificate of a member."""
        request = pb.RevokeMemberRequest(role=role, member_id=member_id, reason=reason)
        answer = await self._rpc.call(self._stub.RevokeMember, request, key=key)
        return farm.MemberRevoked(role=role, member_id=member_id, certificates=answer.certificates)
