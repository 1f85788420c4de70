"""DoctorService: how a controller and its farm are."""

from typing import Any

from phonefarm.v1 import doctor_pb2, doctor_pb2_grpc

from phonefarm_cli.client.wire import Wire


class DoctorClient:
    """Examines."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = doctor_pb2_grpc.DoctorServiceStub(wire.channel)

    async def examine(self) -> list[doctor_pb2.Finding]:
        """Return what the controller finds."""
        answer = await self._wire.answer(self._stub.Examine, doctor_pb2.ExamineRequest())
        return list(answer.findings)
