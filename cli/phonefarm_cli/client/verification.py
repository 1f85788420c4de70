"""ProvingService: real runs that prove a capability or try an app profile."""

from typing import Any

from phonefarm.v1 import proving_pb2, proving_pb2_grpc

from phonefarm_cli.client.wire import Wire


class ProvingClient:
    """Starts proving runs and records what they proved."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = proving_pb2_grpc.ProvingServiceStub(wire.channel)

    async def verify(self, request: proving_pb2.VerifyCapabilityRequest) -> str:
        """Start a verification; return its process."""
        answer = await self._wire.answer(self._stub.VerifyCapability, request)
        return str(answer.process_id)

    async def check(self, request: proving_pb2.CheckProfileRequest) -> str:
        """Start the walk through an app profile's screens; return its process."""
        answer = await self._wire.answer(self._stub.CheckProfile, request)
        return str(answer.process_id)

    async def record(self, process_id: str) -> proving_pb2.Verification:
        """Let a completed verification count."""
        request = proving_pb2.RecordVerificationRequest(process_id=process_id)
        kept: proving_pb2.Verification = await self._wire.answer(
            self._stub.RecordVerification, request
        )
        return kept
