"""InspectService: processes, items, evidence, deliveries and capabilities, to read."""

from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import inspect_pb2_grpc
from phonefarm_common.ids import is_uuid

from phonefarm_controller.callbacks.replay import Replay
from phonefarm_controller.capabilities.listing import CapabilityList
from phonefarm_controller.evidence.read import EvidenceReader
from phonefarm_controller.model.errors import invalid_field, unknown_process
from phonefarm_controller.processes.query import ProcessQuery
from phonefarm_controller.processes.watch import ProcessWatch
from phonefarm_controller.rpc import inspect_convert
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.scheduler.explain import Explain


class InspectService(inspect_pb2_grpc.InspectServiceServicer):
    """Serves callers and gateways."""

    def __init__(
        self,
        *,
        replay: Replay,
        processes: ProcessQuery,
        process_watch: ProcessWatch,
        explain: Explain,
        evidence: EvidenceReader,
        capabilities: CapabilityList,
    ) -> None:
        self._replay = replay
        self._processes = processes
        self._process_watch = process_watch
        self._explain = explain
        self._evidence = evidence
        self._capabilities = capabilities

    # The stubs only know generators; a coroutine gets its cancellation in the call's own task.
    async def WatchProcess(  # type: ignore[override] # noqa: N802 - the wire's name
        self, request: pb.WatchProcessRequest, context: Context
    ) -> None:
        """Send the record now and as it moves, until the process has ended."""
        if request.after < 0:
            raise invalid_field("after", "must be the number of an event")
        process_id = _process_id(request.process_id)
        with self._process_watch.watch(process_id, after=request.after) as watcher:
            while (event := await watcher.next()) is not None:
                await context.write(inspect_convert.event_to_wire(event))

    async def GetTimeline(  # noqa: N802
        self, request: pb.GetTimelineRequest, context: Context
    ) -> pb.Timeline:
        """Return every transition."""
        process_id = _process_id(request.process_id)
        transitions, truncated = await self._processes.timeline(process_id)
        return pb.Timeline(
            process_id=process_id,
            transitions=inspect_convert.transitions_to_wire(transitions),
            truncated=truncated,
        )

    async def ExplainProcess(  # noqa: N802
        self, request: pb.ExplainProcessRequest, context: Context
    ) -> pb.Explanation:
        """Explain why items wait."""
        told = await self._explain(_process_id(request.process_id))
        return inspect_convert.explanation_to_wire(told)

    async def GetQueueItem(  # noqa: N802
        self, request: pb.GetQueueItemRequest, context: Context
    ) -> pb.QueueItem:
        """Return one item with its plan and attempts."""
        details = await self._processes.item(request.queue_item_id.lower())
        return inspect_convert.item_to_wire(details)

    async def ListEvidence(  # noqa: N802
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceResponse:
        """Return one entry for each evidence file."""
        found, begun = await self._evidence.of(_process_id(request.process_id))
        return pb.ListEvidenceResponse(
            evidence=[inspect_convert.evidence_to_wire(details) for details in found],
            runs=[inspect_convert.run_evidence_to_wire(run) for run in begun],
        )

    async def ReadEvidence(  # type: ignore[override] # noqa: N802
        self, request: pb.ReadEvidenceRequest, context: Context
    ) -> None:
        """Send the file's line, then its bytes."""
        process_id = _process_id(request.process_id)
        async with self._evidence.opened(process_id, request.evidence_id.lower()) as file:
            line = inspect_convert.evidence_to_wire(file.details)
            await context.write(pb.EvidencePart(line=line))
            while data := await file.chunk():
                await context.write(pb.EvidencePart(data=data))

    async def ListCapabilities(  # noqa: N802
        self, request: pb.ListCapabilitiesRequest, context: Context
    ) -> pb.ListCapabilitiesResponse:
        """Return all capabilities."""
        views = await self._capabilities.capabilities()
        return pb.ListCapabilitiesResponse(
            capabilities=[inspect_convert.capability_to_wire(view) for view in views]
        )

    async def ListDeliveries(  # noqa: N802
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        """Return every delivery with its newest attempts."""
        found = await self._replay.log(_process_id(request.process_id))
        return pb.ListDeliveriesResponse(
            deliveries=[inspect_convert.delivery_to_wire(each) for each in found]
        )

    async def ReplayDeliveries(  # noqa: N802
        self, request: pb.ReplayDeliveriesRequest, context: Context
    ) -> pb.ReplayDeliveriesResponse:
        """Make settled ones due again."""
        process_id = _process_id(request.process_id)
        sequences = await self._replay(process_id, set(request.sequences), actor=caller().name)
        return pb.ReplayDeliveriesResponse(sequences=sequences)

    async def ListFailingReceivers(  # noqa: N802
        self, request: pb.ListFailingReceiversRequest, context: Context
    ) -> pb.ListFailingReceiversResponse:
        """Return the receivers that do not take their callbacks."""
        found = await self._replay.failing_receivers()
        return pb.ListFailingReceiversResponse(
            receivers=[inspect_convert.receiver_to_wire(each) for each in found]
        )


def _process_id(text: str) -> str:
    if not is_uuid(text):
        raise unknown_process(text)
    return text.lower()
