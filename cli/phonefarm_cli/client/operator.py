"""HandsService: the operator's hands on what runs."""

from collections.abc import AsyncIterator
from typing import Any

from phonefarm.v1 import fleet_pb2, hands_pb2, hands_pb2_grpc

from phonefarm_cli.client.wire import LONG_CALL_SECONDS, Wire


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

    async def drain_phone(self, phone_id: str, reason: str) -> fleet_pb2.Phone:
        """Give a phone no more work."""
        request = hands_pb2.DrainPhoneRequest(phone_id=phone_id, reason=reason)
        phone: fleet_pb2.Phone = await self._wire.answer(self._stub.DrainPhone, request)
        return phone

    async def drain_agent(self, agent_id: str, reason: str) -> fleet_pb2.Agent:
        """Give the phones of a host no more work."""
        request = hands_pb2.DrainAgentRequest(agent_id=agent_id, reason=reason)
        agent: fleet_pb2.Agent = await self._wire.answer(self._stub.DrainAgent, request)
        return agent

    async def undrain_agent(self, agent_id: str, reason: str) -> bool:
        """Give the phones of a host work again; tell whether they had been given none."""
        request = hands_pb2.UndrainAgentRequest(agent_id=agent_id, reason=reason)
        answer: hands_pb2.UndrainAgentResponse = await self._wire.answer(
            self._stub.UndrainAgent, request
        )
        return answer.undrained

    async def rerun(self, request: hands_pb2.RerunProcessRequest) -> hands_pb2.RerunProcessResponse:
        """Repeat the request of a process that has ended."""
        made: hands_pb2.RerunProcessResponse = await self._wire.answer(
            self._stub.RerunProcess, request, seconds=LONG_CALL_SECONDS
        )
        return made

    def backup(self, reason: str) -> AsyncIterator[hands_pb2.BackupPart]:
        """Yield the head of a copy of the database, then its bytes."""
        return self._wire.stream(self._stub.Backup, hands_pb2.BackupRequest(reason=reason))

    async def hold(self, request: hands_pb2.HoldPhoneRequest) -> hands_pb2.Hold:
        """Make a hold."""
        hold: hands_pb2.Hold = await self._wire.answer(self._stub.HoldPhone, request)
        return hold

    async def held(self, process_id: str) -> hands_pb2.Hold:
        """Return a hold as it is."""
        request = hands_pb2.GetHoldRequest(process_id=process_id)
        hold: hands_pb2.Hold = await self._wire.answer(self._stub.GetHold, request)
        return hold

    async def unhold(self, phone_id: str, reason: str) -> hands_pb2.Hold:
        """End a phone's hold."""
        request = hands_pb2.UnholdPhoneRequest(phone_id=phone_id, reason=reason)
        hold: hands_pb2.Hold = await self._wire.answer(self._stub.UnholdPhone, request)
        return hold
