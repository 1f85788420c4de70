"""InspectService: what happened to the work, what happens, what was kept of it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from phonefarm.v1 import inspect_pb2, inspect_pb2_grpc

from phonefarm_cli.client.wire import LONG_CALL_SECONDS, Wire


class InspectClient:
    """Looks into the work; only `replay` changes something."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = inspect_pb2_grpc.InspectServiceStub(wire.channel)

    def watch(self, process_id: str, after: int) -> AsyncIterator[inspect_pb2.ProcessEvent]:
        """Yield the record as it changes, until the process has ended."""
        request = inspect_pb2.WatchProcessRequest(process_id=process_id, after=after)
        return self._wire.stream(self._stub.WatchProcess, request)

    async def timeline(self, process_id: str) -> inspect_pb2.Timeline:
        """Return every transition."""
        request = inspect_pb2.GetTimelineRequest(process_id=process_id)
        timeline: inspect_pb2.Timeline = await self._wire.answer(self._stub.GetTimeline, request)
        return timeline

    async def explain(self, process_id: str) -> inspect_pb2.Explanation:
        """Return why items wait."""
        request = inspect_pb2.ExplainProcessRequest(process_id=process_id)
        told: inspect_pb2.Explanation = await self._wire.answer(self._stub.ExplainProcess, request)
        return told

    async def item(self, queue_item_id: str) -> inspect_pb2.QueueItem:
        """Return one item with its attempts."""
        request = inspect_pb2.GetQueueItemRequest(queue_item_id=queue_item_id)
        item: inspect_pb2.QueueItem = await self._wire.answer(self._stub.GetQueueItem, request)
        return item

    async def deliveries(self, process_id: str) -> list[inspect_pb2.DeliveryLine]:
        """Return the log of a process's callbacks, oldest first."""
        request = inspect_pb2.ListDeliveriesRequest(process_id=process_id)
        answer = await self._wire.answer(self._stub.ListDeliveries, request)
        return list(answer.deliveries)

    async def replay(self, process_id: str, sequences: Sequence[int]) -> list[int]:
        """Make callbacks due again; return which."""
        request = inspect_pb2.ReplayDeliveriesRequest(process_id=process_id, sequences=sequences)
        answer = await self._wire.answer(self._stub.ReplayDeliveries, request)
        return list(answer.sequences)

    async def evidence(self, process_id: str) -> list[inspect_pb2.EvidenceLine]:
        """Return what is kept of a process's runs."""
        return list((await self.evidence_and_runs(process_id)).evidence)

    async def evidence_and_runs(self, process_id: str) -> inspect_pb2.ListEvidenceResponse:
        """Return the same, and of which runs it is all."""
        request = inspect_pb2.ListEvidenceRequest(process_id=process_id)
        return await self._wire.answer(self._stub.ListEvidence, request)

    def read_evidence(
        self, process_id: str, evidence_id: str
    ) -> AsyncIterator[inspect_pb2.EvidencePart]:
        """Yield the file's line, then its bytes."""
        request = inspect_pb2.ReadEvidenceRequest(process_id=process_id, evidence_id=evidence_id)
        return self._wire.stream(self._stub.ReadEvidence, request, seconds=LONG_CALL_SECONDS)

    async def capabilities(self) -> list[inspect_pb2.Capability]:
        """Return the registry."""
        request = inspect_pb2.ListCapabilitiesRequest()
        answer = await self._wire.answer(self._stub.ListCapabilities, request)
        return list(answer.capabilities)
