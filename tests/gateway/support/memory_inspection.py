"""What can be seen of the processes in memory; tests write the history."""

# ruff: noqa: N802 - the protocol names the calls

import asyncio
import hashlib
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import grpc
from gateway.support.refusing import Context, refuse
from phonefarm.v1 import inspect_pb2 as pb
from phonefarm.v1 import inspect_pb2_grpc, process_pb2

_TERMINAL = {"completed", "failed_terminal", "cancelled"}
INPUTS_SCHEMA = '{"type": "object", "required": ["keywords"], "properties": {"keywords": {}}}'


class MemoryInspection(inspect_pb2_grpc.InspectServiceServicer):
    """Timelines, evidence, deliveries by process; a watch sends what `move` writes."""

    def __init__(
        self,
        admit: Callable[[Context, str], Awaitable[str]],
        process: Callable[[str, Context], Awaitable[process_pb2.Process]],
        processes: Mapping[str, process_pb2.Process],
    ) -> None:
        self._admit = admit
        self._process = process
        self._processes = processes
        self.history: dict[str, list[pb.Transition]] = defaultdict(list)
        self.items: dict[str, pb.QueueItem] = {}
        self.lines: dict[str, list[pb.DeliveryLine]] = defaultdict(list)
        self.receivers: list[pb.FailingReceiver] = []
        self.files: dict[str, dict[str, tuple[pb.EvidenceLine, bytes]]] = defaultdict(dict)
        self.part_bytes = 64 * 1024
        self.parts_sent = 0
        self.short_by = 0
        self.watches = 0
        self.moved = asyncio.Condition()

    async def move(self, process_id: str, state: str, *, status: str | None = None) -> int:
        """Write one transition of the process, and its new public status; return its number."""
        history = self.history[process_id]
        step = pb.Transition(
            number=len(history) + 1,
            from_state=history[-1].to_state if history else "",
            to_state=state,
            actor="controller",
            reason="moved",
        )
        step.at.GetCurrentTime()
        async with self.moved:
            history.append(step)
            if status is not None:
                self._processes[process_id].status = status
            self.moved.notify_all()
        return step.number

    def keep(self, process_id: str, name: str, kind: str, data: bytes) -> str:
        """Keep a file as evidence; return its id."""
        line = pb.EvidenceLine(
            evidence_id=str(uuid.uuid4()),
            process_id=process_id,
            queue_item_id=str(uuid.uuid4()),
            run_id=str(uuid.uuid4()),
            attempt=1,
            name=name,
            kind=kind,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            action_index=-1,
        )
        line.received_at.GetCurrentTime()
        self.files[process_id][line.evidence_id] = (line, data)
        return line.evidence_id

    async def WatchProcess(
        self, request: pb.WatchProcessRequest, context: Context
    ) -> AsyncIterator[pb.ProcessEvent]:
        """Send what is newer than `after`, until the process has ended."""
        await self._admit(context, "read")
        process = await self._process(request.process_id, context)
        history = self.history[request.process_id]
        sent = request.after
        self.watches += 1
        try:
            while True:
                newer = [step for step in history if step.number > sent]
                if newer or (sent == 0 and not history):
                    number = newer[-1].number if newer else 0
                    event = pb.ProcessEvent(number=number, process=process, transitions=newer)
                    event.emitted_at.GetCurrentTime()
                    sent = number or -1
                    yield event
                if process.status in _TERMINAL and not [s for s in history if s.number > sent]:
                    return
                async with self.moved:
                    while not [step for step in history if step.number > sent]:
                        await self.moved.wait()
        finally:
            self.watches -= 1

    async def GetTimeline(self, request: pb.GetTimelineRequest, context: Context) -> pb.Timeline:
        """Return the history."""
        await self._admit(context, "read")
        await self._process(request.process_id, context)
        return pb.Timeline(
            process_id=request.process_id, transitions=self.history[request.process_id]
        )

    async def ExplainProcess(
        self, request: pb.ExplainProcessRequest, context: Context
    ) -> pb.Explanation:
        """Say that the phone is busy."""
        await self._admit(context, "read")
        process = await self._process(request.process_id, context)
        reason = pb.ReasonCount(reason="phone_busy", count=1, remedy="Wait until its run ends.")
        item = pb.ItemExplanation(
            queue_item_id=str(uuid.uuid4()),
            status="QUEUED",
            items_ahead=2,
            reasons=[reason],
            phones=[pb.PhoneReason(phone_id="phone-1", reason="phone_busy", detail="a process")],
        )
        item.deadline_at.GetCurrentTime()
        return pb.Explanation(
            process_id=process.process_id,
            status=process.status,
            summary="It waits for a phone.",
            reasons=[reason],
            items=[item],
        )

    async def GetQueueItem(self, request: pb.GetQueueItemRequest, context: Context) -> pb.QueueItem:
        """Return an item that a test made."""
        await self._admit(context, "read")
        if request.queue_item_id not in self.items:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "unknown_queue_item", "no such item")
        return self.items[request.queue_item_id]

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        """Return the log."""
        await self._admit(context, "read")
        await self._process(request.process_id, context)
        return pb.ListDeliveriesResponse(deliveries=self.lines[request.process_id])

    async def ListFailingReceivers(
        self, request: pb.ListFailingReceiversRequest, context: Context
    ) -> pb.ListFailingReceiversResponse:
        """Return those that a test made."""
        await self._admit(context, "read")
        return pb.ListFailingReceiversResponse(receivers=self.receivers)

    async def ReplayDeliveries(
        self, request: pb.ReplayDeliveriesRequest, context: Context
    ) -> pb.ReplayDeliveriesResponse:
        """Make dead ones pending again."""
        await self._admit(context, "operate")
        await self._process(request.process_id, context)
        again = [
            line
            for line in self.lines[request.process_id]
            if line.status in {"dead", "stopped"}
            or (line.status == "delivered" and line.sequence in request.sequences)
        ]
        again = [one for one in again if not request.sequences or one.sequence in request.sequences]
        if not again:
            code = grpc.StatusCode.FAILED_PRECONDITION
            await refuse(context, code, "state_conflict", "there is none to send again")
        for line in again:
            line.status = "pending"
        return pb.ReplayDeliveriesResponse(sequences=[line.sequence for line in again])

    async def ListEvidence(
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceResponse:
        """Return the kept files' lines."""
        await self._admit(context, "read")
        await self._process(request.process_id, context)
        return pb.ListEvidenceResponse(
            evidence=[line for line, _ in self.files[request.process_id].values()]
        )

    async def ReadEvidence(
        self, request: pb.ReadEvidenceRequest, context: Context
    ) -> AsyncIterator[pb.EvidencePart]:
        """Send a kept file; `short_by` bytes are left out."""
        await self._admit(context, "read")
        found = self.files[request.process_id].get(request.evidence_id)
        if found is None:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "unknown_evidence", "no such file")
        line, data = found
        yield pb.EvidencePart(line=line)
        data = data[: len(data) - self.short_by]
        for start in range(0, len(data), self.part_bytes):
            self.parts_sent += 1
            yield pb.EvidencePart(data=data[start : start + self.part_bytes])

    async def ListCapabilities(
        self, request: pb.ListCapabilitiesRequest, context: Context
    ) -> pb.ListCapabilitiesResponse:
        """Return one capability that is verified."""
        await self._admit(context, "read")
        app = pb.AppVerification(
            app="shortvideo", profile_version="v1", live_verified=True, verified_by="operator"
        )
        app.verified_at.GetCurrentTime()
        warmup = pb.Capability(
            name="keyword_warmup",
            description="Search, watch.",
            modes=["manual", "unattended"],
            routings=["direct"],
            endpoint="/capability-requests/enqueue",
            inputs_schema_json=INPUTS_SCHEMA,
            can_be_verified=True,
            apps=[app],
        )
        return pb.ListCapabilitiesResponse(capabilities=[warmup])
