"""DoctorService: read the wire, call one operation, write the wire."""

from typing import Final

from phonefarm.v1 import doctor_pb2 as pb
from phonefarm.v1 import doctor_pb2_grpc

from phonefarm_controller.alarms import Severity
from phonefarm_controller.monitoring.doctor import Doctor
from phonefarm_controller.rpc.errors import Context

_VERDICTS: Final = {
    Severity.OK: pb.VERDICT_OK,
    Severity.WARN: pb.VERDICT_WARN,
    Severity.FAIL: pb.VERDICT_FAIL,
}


class DoctorService(doctor_pb2_grpc.DoctorServiceServicer):
    """Serves operators."""

    def __init__(self, *, doctor: Doctor) -> None:
        self._doctor = doctor

    async def Examine(  # noqa: N802 - the wire's name
        self, request: pb.ExamineRequest, context: Context
    ) -> pb.Examination:
        """Return every finding."""
        examined = await self._doctor.examine()
        return pb.Examination(
            findings=[
                pb.Finding(
                    check=finding.check,
                    verdict=_VERDICTS[finding.verdict],
                    text=finding.text,
                    remedy=finding.remedy,
                )
                for finding in examined.findings
            ],
            summary=examined.summary,
        )
