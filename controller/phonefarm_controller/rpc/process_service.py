"""ProcessService: read the wire, call one operation, write the wire."""

from phonefarm.v1 import process_pb2 as pb
from phonefarm.v1 import process_pb2_grpc
from phonefarm_common.ids import is_uuid
from phonefarm_common.trace_context import current_traceparent

from phonefarm_controller.capabilities.catalog import (
    CAPABILITIES,
    known_capability,
    planned_inputs,
)
from phonefarm_controller.concurrency.batcher import Batcher
from phonefarm_controller.model.errors import unknown_process
from phonefarm_controller.model.requests import Submission
from phonefarm_controller.model.scopes import in_order
from phonefarm_controller.processes.cancel import CancelProcess
from phonefarm_controller.processes.enqueue import Accepted
from phonefarm_controller.processes.query import ProcessQuery
from phonefarm_controller.rpc.auth import caller, scope_of
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.pagination import cursor_of, filter_of, limit_of, page_end_of
from phonefarm_controller.rpc.process_convert import (
    cancel_of,
    inputs_of,
    process_to_wire,
    submission_of,
)


class ProcessService(process_pb2_grpc.ProcessServiceServicer):
    """Serves callers and gateways."""

    def __init__(
        self,
        *,
        enqueue: Batcher[Submission, Accepted],
        cancel: CancelProcess,
        processes: ProcessQuery,
        dummy_allowed: bool,
    ) -> None:
        self._enqueue = enqueue
        self._cancel = cancel
        self._processes = processes
        self._dummy_allowed = dummy_allowed

    async def Enqueue(  # noqa: N802 - the wire's name
        self, request: pb.EnqueueRequest, context: Context
    ) -> pb.EnqueueResponse:
        """Accept work."""
        known = CAPABILITIES.get(request.capability)
        if known is not None:
            caller().check(known.scope)
        submission = submission_of(request, caller=caller().name, traceparent=current_traceparent())
        answer = await self._enqueue.do(submission)
        return pb.EnqueueResponse(
            process_id=answer.process_id,
            request_id=answer.request_id,
            process_type=answer.process_type,
            duplicate=answer.duplicate,
            process_status=answer.status,
            request_differs=answer.request_differs,
            items_planned=answer.items_planned,
        )

    async def GetProcess(  # noqa: N802
        self, request: pb.GetProcessRequest, context: Context
    ) -> pb.Process:
        """Return the record of a process."""
        if not is_uuid(request.process_id):
            raise unknown_process(request.process_id)
        record = await self._processes.process(request.process_id.lower())
        return process_to_wire(record)

    async def ListProcesses(  # noqa: N802
        self, request: pb.ListProcessesRequest, context: Context
    ) -> pb.ListProcessesResponse:
        """Return the newest that match, a page at a time."""
        page = await self._processes.page(
            filter_of(request), after=page_end_of(request.cursor), limit=limit_of(request)
        )
        return pb.ListProcessesResponse(
            processes=[process_to_wire(record) for record in page.records],
            next_cursor=cursor_of(page.end),
        )

    async def CancelProcess(  # noqa: N802
        self, request: pb.CancelProcessRequest, context: Context
    ) -> pb.CancelProcessResponse:
        """Record the wish to end a process."""
        answer = await self._cancel(cancel_of(request, caller=caller().name))
        active = answer.first_active
        return pb.CancelProcessResponse(
            status="ignored_terminal" if answer.ignored else "cancel_requested",
            cancelled_queue_item_ids=answer.cancelled_items,
            active_queue_item_ids=answer.active_items,
            active_phone_id=(active.phone_id or "") if active else "",
            active_account_id=(active.account_id or "") if active else "",
            active_queue_item_id=active.item_id if active else "",
            termination_status=answer.termination,
            terminate_issued=answer.termination == "issued",
            container=answer.container or "",
            process_id=answer.process.process_id,
            process_status=answer.process.status,
        )

    async def CheckInputs(  # noqa: N802
        self, request: pb.CheckInputsRequest, context: Context
    ) -> pb.CheckInputsResponse:
        """Refuse inputs that Enqueue would refuse."""
        inputs = inputs_of(request.inputs_json)
        capability = known_capability(request.capability)
        planned_inputs(capability, inputs, dummy_allowed=self._dummy_allowed)
        return pb.CheckInputsResponse()

    async def CheckKey(  # noqa: N802
        self, request: pb.CheckKeyRequest, context: Context
    ) -> pb.CheckKeyResponse:
        """Tell whether the caller's key is good, and good for what is asked."""
        shown = caller()
        shown.check(scope_of(request.scope))
        return pb.CheckKeyResponse(name=shown.name, scopes=in_order(shown.scopes))
