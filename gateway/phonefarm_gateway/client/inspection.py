"""InspectService: timelines, explanations, events, deliveries, evidence, capabilities."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from phonefarm.schemas import responses
from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import inspect_pb2_grpc

from phonefarm_gateway.client import inspection_convert
from phonefarm_gateway.client.calls import RpcCaller


@dataclass(frozen=True, kw_only=True)
class NumberedEvent:
    """A process event, and the number that `Last-Event-ID` repeats."""

    number: int
    event: responses.ProcessEvent


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """A file's description, and its bytes as they arrive."""

    line: responses.Evidence
    parts: AsyncIterator[bytes]


class InspectionClient:
    """Reads everything that is known of processes; `replay` alone changes something."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = inspect_pb2_grpc.InspectServiceStub(channel)
        self._rpc = rpc

    @asynccontextmanager
    async def watch_process(
        self, key: str | None, process_id: str, *, after: int
    ) -> AsyncIterator[AsyncIterator[NumberedEvent]]:
        """Yield the events after number *after*, 0 for all, until the process has ended."""
        request = pb.WatchProcessRequest(process_id=process_id, after=after)
        async with self._rpc.stream(self._stub.WatchProcess, request, key=key) as events:
            yield _numbered(events)

    async def timeline(self, key: str | None, process_id: str) -> responses.Timeline:
        """Return every transition."""
        request = pb.GetTimelineRequest(process_id=process_id)
        answer = await self._rpc.call(self._stub.GetTimeline, request, key=key)
        return responses.Timeline(
            process_id=answer.process_id,
            transitions=tuple(inspection_convert.transition(one) for one in answer.transitions),
            truncated=answer.truncated,
        )

    async def explain(self, key: str | None, process_id: str) -> responses.Explanation:
        """Return why a process waits."""
        request = pb.ExplainProcessRequest(process_id=process_id)
        return inspection_convert.explanation(
            await self._rpc.call(self._stub.ExplainProcess, request, key=key)
        )

    async def queue_item(self, key: str | None, queue_item_id: str) -> responses.QueueItem:
        """Return one queue item with its attempts."""
        request = pb.GetQueueItemRequest(queue_item_id=queue_item_id)
        return inspection_convert.queue_item(
            await self._rpc.call(self._stub.GetQueueItem, request, key=key)
        )

    async def deliveries(self, key: str | None, process_id: str) -> responses.DeliveryList:
        """Return the callbacks of a process, with their attempts."""
        request = pb.ListDeliveriesRequest(process_id=process_id)
        answer = await self._rpc.call(self._stub.ListDeliveries, request, key=key)
        return responses.DeliveryList(
            process_id=process_id,
            deliveries=tuple(inspection_convert.delivery(line) for line in answer.deliveries),
        )

    async def failing_receivers(self, key: str | None) -> responses.FailingReceiverList:
        """Return the receivers that do not take their callbacks."""
        request = pb.ListFailingReceiversRequest()
        answer = await self._rpc.call(self._stub.ListFailingReceivers, request, key=key)
        return responses.FailingReceiverList(
            receivers=tuple(inspection_convert.receiver(one) for one in answer.receivers)
        )

    async def replay(
        self, key: str | None, process_id: str, sequences: list[int]
    ) -> responses.Replayed:
        """Make deliveries due again; without *sequences*, all that were not delivered."""
        request = pb.ReplayDeliveriesRequest(process_id=process_id, sequences=sequences)
        answer = await self._rpc.call(self._stub.ReplayDeliveries, request, key=key)
        return responses.Replayed(process_id=process_id, sequences=tuple(answer.sequences))

    async def evidence(self, key: str | None, process_id: str) -> responses.EvidenceList:
        """Return the evidence of a process's runs."""
        request = pb.ListEvidenceRequest(process_id=process_id)
        answer = await self._rpc.call(self._stub.ListEvidence, request, key=key)
        return responses.EvidenceList(
            process_id=process_id,
            evidence=tuple(
                inspection_convert.evidence(process_id, line) for line in answer.evidence
            ),
            runs=tuple(inspection_convert.run_evidence(run) for run in answer.runs),
        )

    @asynccontextmanager
    async def evidence_file(
        self, key: str | None, process_id: str, evidence_id: str
    ) -> AsyncIterator[EvidenceFile]:
        """Yield one file; ValueError when the controller does not send its description first."""
        request = pb.ReadEvidenceRequest(process_id=process_id, evidence_id=evidence_id)
        async with self._rpc.stream(self._stub.ReadEvidence, request, key=key) as parts:
            first = await anext(parts, None)
            if first is None or first.WhichOneof("body") != "line":
                raise ValueError("the controller sent no description of the evidence")
            line = inspection_convert.evidence(process_id, first.line)
            yield EvidenceFile(line=line, parts=_data(parts))

    async def capabilities(self, key: str | None) -> responses.CapabilityList:
        """Return every capability."""
        answer = await self._rpc.call(
            self._stub.ListCapabilities,
            pb.ListCapabilitiesRequest(),
            key=key,
        )
        return responses.CapabilityList(
            capabilities=tuple(inspection_convert.capability(one) for one in answer.capabilities)
        )


async def _numbered(events: AsyncIterator[pb.ProcessEvent]) -> AsyncIterator[NumberedEvent]:
    async for event in events:
        yield NumberedEvent(number=event.number, event=inspection_convert.event(event))


async def _data(parts: AsyncIterator[pb.EvidencePart]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part.data
