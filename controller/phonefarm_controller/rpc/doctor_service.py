"""DoctorService: the checks of the farm, and the events that report alerts."""

from typing import Final

from phonefarm.v1 import doctor_pb2 as pb
from phonefarm.v1 import doctor_pb2_grpc

from phonefarm_controller.alarms import Severity
from phonefarm_controller.callbacks.alerts import AlertEvents
from phonefarm_controller.model.states import DELIVERY_SETTLED
from phonefarm_controller.monitoring.doctor import Doctor
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.wire import moment_to_wire
from phonefarm_controller.store.deliveries import Delivery

_VERDICTS: Final = {
    Severity.OK: pb.VERDICT_OK,
    Severity.WARN: pb.VERDICT_WARN,
    Severity.FAIL: pb.VERDICT_FAIL,
}


class DoctorService(doctor_pb2_grpc.DoctorServiceServicer):
    """Serves operators."""

    def __init__(self, *, doctor: Doctor, alert_events: AlertEvents) -> None:
        self._doctor = doctor
        self._alert_events = alert_events

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

    async def ListAlertEvents(  # noqa: N802
        self, request: pb.ListAlertEventsRequest, context: Context
    ) -> pb.ListAlertEventsResponse:
        """Return the newest events."""
        return pb.ListAlertEventsResponse(
            receiver=self._alert_events.receiver,
            events=[_event_to_wire(event) for event in await self._alert_events.log()],
        )

    async def SendTestAlert(  # noqa: N802
        self, request: pb.SendTestAlertRequest, context: Context
    ) -> pb.AlertEvent:
        """Make an event that reports no change."""
        return _event_to_wire(await self._alert_events.test(actor=caller().name))

    async def ReplayAlertEvent(  # noqa: N802
        self, request: pb.ReplayAlertEventRequest, context: Context
    ) -> pb.AlertEvent:
        """Make a settled event due again."""
        event = await self._alert_events.replay(request.sequence, actor=caller().name)
        return _event_to_wire(event)


def _event_to_wire(event: Delivery) -> pb.AlertEvent:
    return pb.AlertEvent(
        sequence=event.sequence,
        delivery_id=event.delivery_id,
        event_type=event.milestone,
        text=event.record["text"],
        status=event.state,
        attempts=event.attempts,
        emitted_at=moment_to_wire(event.emitted_at),
        due_at=None if event.state in DELIVERY_SETTLED else moment_to_wire(event.due_at),
        settled_at=moment_to_wire(event.settled_at),
        last_error=event.last_error or "",
    )
