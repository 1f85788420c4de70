"""HandsService: the operator's hands on what runs."""

from typing import Any

from phonefarm.v1 import fleet_pb2, hands_pb2, hands_pb2_grpc

from phonefarm_cli.clients.wire import Wire


class HandsClient:
    """Interferes with what runs."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = hands_pb2_grpc.HandsServiceStub(wire.channel)

    async def release(self, phone_id: str, epoch: int, reason: str) -> fleet_pb2.Phone:
        """Take a phone from the run whose lease has this epoch."""
        request = hands_pb2.ReleasePhoneRequest(phone_id=phone_id, epoch=epoch, reason=reason)
        phone: fleet_pb2.Phone = await self._wire.answer(self._stub.ReleasePhone, request)
        return phone
