"""OperatorService, VerificationService and DoctorService: what operators do to runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc.aio
from phonefarm.schemas import farm, farm_requests, operation
from phonefarm.v1 import (
    doctor_pb2,
    doctor_pb2_grpc,
    operator_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)
from phonefarm.v1 import operator_pb2 as pb

from phonefarm_gateway.client import farm_convert
from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import requester
from phonefarm_gateway.strict_json import dump


@dataclass(frozen=True, kw_only=True)
class DatabaseCopy:
    """A copy of the controller's database: what it is, and its bytes as they arrive."""

    taken_at: datetime
    size: int
    sha256: str
    parts: AsyncIterator[bytes]


class OperatorClient:
    """Releases, drains, holds, reruns and verifies; examines the farm."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = operator_pb2_grpc.OperatorServiceStub(channel)
        self._verification = verification_pb2_grpc.VerificationServiceStub(channel)
        self._doctor = doctor_pb2_grpc.DoctorServiceStub(channel)
        self._rpc = rpc

    async def release(
        self, key: str | None, phone_id: str, body: farm_requests.ReleasePhone
    ) -> farm.Phone:
        """Take a phone from the run that drives it."""
        request = pb.ReleasePhoneRequest(phone_id=phone_id, epoch=body.epoch, reason=body.reason)
        return farm_convert.phone(await self._rpc.call(self._stub.ReleasePhone, request, key=key))

    async def drain_phone(self, key: str | None, phone_id: str, reason: str) -> farm.Phone:
        """Give a phone no more work; what runs goes on."""
        request = pb.DrainPhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.phone(await self._rpc.call(self._stub.DrainPhone, request, key=key))

    async def drain_agent(self, key: str | None, agent_id: str, reason: str) -> farm.Agent:
        """Give the phones of a host no more work."""
        request = pb.DrainAgentRequest(agent_id=agent_id, reason=reason)
        return farm_convert.agent(await self._rpc.call(self._stub.DrainAgent, request, key=key))

    async def undrain_agent(self, key: str | None, agent_id: str, reason: str) -> farm.Undrained:
        """Give the phones of a host work again."""
        request = pb.UndrainAgentRequest(agent_id=agent_id, reason=reason)
        answer = await self._rpc.call(self._stub.UndrainAgent, request, key=key)
        return farm.Undrained(agent_id=agent_id, undrained=answer.undrained)

    async def rerun(
        self, key: str | None, process_id: str, body: farm_requests.RerunProcess
    ) -> operation.Rerun:
        """Repeat the request of a process that has ended."""
        request = pb.RerunProcessRequest(
            process_id=process_id,
            failed_only=body.failed_only,
            not_posted=body.not_posted,
            reason=body.reason,
        )
        answer = await self._rpc.call(self._stub.RerunProcess, request, key=key)
        return operation.Rerun(
            process_id=answer.process_id,
            request_id=answer.request_id or None,
            items=answer.items,
            already=answer.already,
        )

    async def hold(
        self, key: str | None, phone_id: str, body: farm_requests.HoldPhone
    ) -> farm.Hold:
        """Reserve a phone for a person."""
        request = pb.HoldPhoneRequest(
            phone_id=phone_id,
            seconds=body.seconds,
            wait_seconds=body.wait_seconds,
            reason=body.reason,
        )
        return farm_convert.hold(await self._rpc.call(self._stub.HoldPhone, request, key=key))

    async def get_hold(self, key: str | None, process_id: str) -> farm.Hold:
        """Return a hold as it is."""
        request = pb.GetHoldRequest(process_id=process_id)
        return farm_convert.hold(await self._rpc.call(self._stub.GetHold, request, key=key))

    async def unhold(self, key: str | None, phone_id: str, reason: str) -> farm.Hold:
        """End a phone's hold."""
        request = pb.UnholdPhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.hold(await self._rpc.call(self._stub.UnholdPhone, request, key=key))

    @asynccontextmanager
    async def backup(self, key: str | None, reason: str) -> AsyncIterator[DatabaseCopy]:
        """Yield a copy of the database; ValueError when the controller does not send its head."""
        request = pb.BackupRequest(reason=reason)
        async with self._rpc.stream(self._stub.Backup, request, key=key) as parts:
            first = await anext(parts, None)
            if first is None or first.WhichOneof("body") != "head":
                raise ValueError("the controller sent the backup without its size and SHA-256")
            yield DatabaseCopy(
                taken_at=first.head.taken_at.ToDatetime(UTC),
                size=first.head.bytes,
                sha256=first.head.sha256,
                parts=_data(parts),
            )

    async def verify(
        self, key: str | None, capability: str, body: farm_requests.Verify
    ) -> operation.VerificationStarted:
        """Enqueue a run that proves a capability."""
        request = verification_pb2.VerifyCapabilityRequest(
            capability=capability,
            phone_id=body.phone_id,
            account_id=body.account_id or "",
            inputs_json="" if body.inputs is None else dump(body.inputs),
            requested_by=requester(body.requested_by),
        )
        answer = await self._rpc.call(self._verification.VerifyCapability, request, key=key)
        return operation.VerificationStarted(process_id=answer.process_id)

    async def check_profile(
        self, key: str | None, body: farm_requests.CheckProfile
    ) -> operation.VerificationStarted:
        """Enqueue a run that looks for what a profile names."""
        request = verification_pb2.CheckProfileRequest(
            name=body.name,
            profile_toml=body.profile_toml,
            phone_id=body.phone_id,
            account_id=body.account_id or "",
            requested_by=requester(body.requested_by),
        )
        answer = await self._rpc.call(self._verification.CheckProfile, request, key=key)
        return operation.VerificationStarted(process_id=answer.process_id)

    async def record_verification(self, key: str | None, process_id: str) -> operation.Verification:
        """Make a completed verification count."""
        request = verification_pb2.RecordVerificationRequest(process_id=process_id)
        answer = await self._rpc.call(self._verification.RecordVerification, request, key=key)
        return farm_convert.verification(answer)

    async def examine(self, key: str | None) -> operation.Examination:
        """Return how a controller and its farm are."""
        answer = await self._rpc.call(self._doctor.Examine, doctor_pb2.ExamineRequest(), key=key)
        return farm_convert.examination(answer)

    async def alert_events(self, key: str | None) -> operation.AlertEventList:
        """Return the newest alert events."""
        request = doctor_pb2.ListAlertEventsRequest()
        answer = await self._rpc.call(self._doctor.ListAlertEvents, request, key=key)
        return operation.AlertEventList(
            receiver=answer.receiver or None,
            events=tuple(farm_convert.alert_event(event) for event in answer.events),
        )

    async def send_test_alert(self, key: str | None) -> operation.AlertEvent:
        """Send an event that reports no change."""
        request = doctor_pb2.SendTestAlertRequest()
        answer = await self._rpc.call(self._doctor.SendTestAlert, request, key=key)
        return farm_convert.alert_event(answer)

    async def replay_alert_event(self, key: str | None, sequence: int) -> operation.AlertEvent:
        """Make a settled alert event due again."""
        request = doctor_pb2.ReplayAlertEventRequest(sequence=sequence)
        answer = await self._rpc.call(self._doctor.ReplayAlertEvent, request, key=key)
        return farm_convert.alert_event(answer)


async def _data(parts: AsyncIterator[pb.BackupPart]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part.data
