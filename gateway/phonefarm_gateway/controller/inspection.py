"""InspectService: looking into the work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import inspect_pb2_grpc

from phonefarm_gateway import views
from phonefarm_gateway.controller import sights
from phonefarm_gateway.controller.calls import Link


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a watcher is sent."""

    number: int
    event: views.ProcessEvent


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """A file's description, and its bytes as they come."""

    line: views.Evidence
    parts: AsyncIterator[bytes]


class Inspection:
    """What happened, happens, and was told."""

    def __init__(self, channel: grpc.aio.Channel, link: Link) -> None:
        self._stub = inspect_pb2_grpc.InspectServiceStub(channel)
        self._link = link

    @asynccontextmanager
    async def watched(
        self, key: str | None, process_id: str, *, after: int
    ) -> AsyncIterator[AsyncIterator[Seen]]:
        """Yield what happens after event *after*, 0 for all; it ends when the process has."""
        request = pb.WatchProcessRequest(process_id=process_id, after=after)
        async with self._link.streamed(
            self._stub.WatchProcess, request, pb.ProcessEvent, key=key
        ) as events:
            yield _seen(events)

    async def timeline(self, key: str | None, process_id: str) -> views.Timeline:
        """Return every transition."""
        request = pb.GetTimelineRequest(process_id=process_id)
        answer = await self._link.asked(self._stub.GetTimeline, request, pb.Timeline, key=key)
        return views.Timeline(
            process_id=answer.process_id,
            transitions=tuple(sights.transition(one) for one in answer.transitions),
            truncated=answer.truncated,
        )

    async def explain(self, key: str | None, process_id: str) -> views.Explanation:
        """Return why it waits."""
        request = pb.ExplainProcessRequest(process_id=process_id)
        return sights.explanation(
            await self._link.asked(self._stub.ExplainProcess, request, pb.Explanation, key=key)
        )

    async def queue_item(self, key: str | None, queue_item_id: str) -> views.QueueItem:
        """Return one item whole."""
        request = pb.GetQueueItemRequest(queue_item_id=queue_item_id)
        return sights.queue_item(
            await self._link.asked(self._stub.GetQueueItem, request, pb.QueueItem, key=key)
        )

    async def deliveries(self, key: str | None, process_id: str) -> views.DeliveryList:
        """Return the log of a process's callbacks."""
        request = pb.ListDeliveriesRequest(process_id=process_id)
        answer = await self._link.asked(
            self._stub.ListDeliveries, request, pb.ListDeliveriesResponse, key=key
        )
        return views.DeliveryList(
            process_id=process_id,
            deliveries=tuple(sights.delivery(line) for line in answer.deliveries),
        )

    async def replay(
        self, key: str | None, process_id: str, sequences: list[int]
    ) -> views.Replayed:
        """Make deliveries due again; none named takes all that were not delivered."""
        request = pb.ReplayDeliveriesRequest(process_id=process_id, sequences=sequences)
        answer = await self._link.asked(
            self._stub.ReplayDeliveries, request, pb.ReplayDeliveriesResponse, key=key
        )
        return views.Replayed(process_id=process_id, sequences=tuple(answer.sequences))

    async def evidence(self, key: str | None, process_id: str) -> views.EvidenceList:
        """Return what the runs of a process left behind."""
        request = pb.ListEvidenceRequest(process_id=process_id)
        answer = await self._link.asked(
            self._stub.ListEvidence, request, pb.ListEvidenceResponse, key=key
        )
        return views.EvidenceList(
            process_id=process_id,
            evidence=tuple(sights.evidence(process_id, line) for line in answer.evidence),
            runs=tuple(sights.run_evidence(run) for run in answer.runs),
        )

    @asynccontextmanager
    async def evidence_file(
        self, key: str | None, process_id: str, evidence_id: str
    ) -> AsyncIterator[EvidenceFile]:
        """Yield one file; ValueError when the controller sends no description first."""
        request = pb.ReadEvidenceRequest(process_id=process_id, evidence_id=evidence_id)
        async with self._link.streamed(
            self._stub.ReadEvidence, request, pb.EvidencePart, key=key
        ) as parts:
            first = await anext(parts, None)
            if first is None or first.WhichOneof("body") != "line":
                raise ValueError("the controller sent no description of the evidence")
            line = sights.evidence(process_id, first.line)
            yield EvidenceFile(line=line, parts=_data(parts))

    async def capabilities(self, key: str | None) -> views.CapabilityList:
        """Return the registry."""
        answer = await self._link.asked(
            self._stub.ListCapabilities,
            pb.ListCapabilitiesRequest(),
            pb.ListCapabilitiesResponse,
            key=key,
        )
        return views.CapabilityList(
            capabilities=tuple(sights.capability(one) for one in answer.capabilities)
        )


async def _seen(events: AsyncIterator[pb.ProcessEvent]) -> AsyncIterator[Seen]:
    async for event in events:
        yield Seen(number=event.number, event=sights.event(event))


async def _data(parts: AsyncIterator[pb.EvidencePart]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part.data
