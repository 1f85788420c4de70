"""AccessService: API keys."""

from typing import Any

from phonefarm.v1 import access_pb2, access_pb2_grpc

from phonefarm_cli.clients.wire import Wire


class AccessClient:
    """Makes, lists and revokes keys."""

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
