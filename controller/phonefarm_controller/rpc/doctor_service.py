"""DoctorService: read the wire, call one operation, write the wire."""

from typing import Final

from phonefarm.v1 import doctor_pb2 as pb
from phonefarm.v1 import doctor_pb2_grpc

from phonefarm_controller.alarms import Verdict
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.monitoring.doctor import Examine
from phonefarm_controller.rpc.auth import Keys
from phonefarm_controller.rpc.errors import Context, translated

_VERDICTS: Final = {
    Verdict.OK: pb.VERDICT_OK,
    Verdict.WARN: pb.VERDICT_WARN,
    Verdict.FAIL: pb.VERDICT_FAIL,
}


class DoctorEdge(doctor_pb2_grpc.DoctorServiceServicer):
    """Serves whoever looks after the farm."""

    def __init__(self, *, keys: Keys, examine: Examine) -> None:
        self._keys = keys
        self._examine = examine

    async def Examine(  # noqa: N802 - the wire's name
        self, request: pb.ExamineRequest, context: Context
    ) -> pb.Examination:
        """Return every finding."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            found = await self._examine()
        return pb.Examination(
            findings=[
                pb.Finding(
                    check=finding.check,
                    verdict=_VERDICTS[finding.verdict],
                    text=finding.text,
                    remedy=finding.remedy,
                )
                for finding in found
            ]
        )
