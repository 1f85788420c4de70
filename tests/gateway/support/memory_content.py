"""Ingested content and snapshots in memory, by the rules of the contract."""

# ruff: noqa: N802 - the protocol names the calls

import uuid
from collections.abc import Awaitable, Callable

import grpc
from gateway.support.refusing import Context, refuse
from phonefarm.v1 import content_pb2 as pb
from phonefarm.v1 import content_pb2_grpc


class MemoryContent(content_pb2_grpc.ContentServiceServicer):
    """Knows the account acc-1; acc-off is not active."""

    def __init__(self, admit: Callable[[Context, str], Awaitable[str]]) -> None:
        self._admit = admit
        self.ingested: list[pb.IngestRequest] = []
        self.items: dict[tuple[str, str], pb.IngestResponse] = {}
        self.snapshots: dict[str, pb.UpsertSnapshotRequest] = {}

    async def FindContent(
        self, request: pb.FindContentRequest, context: Context
    ) -> pb.FindContentResponse:
        """Tell whether it was taken in."""
        await self._admit(context, "submit")
        await self._check(request.account_id, context)
        item = self.items.get((request.account_id, request.content_id), pb.IngestResponse())
        return pb.FindContentResponse(
            queue_item_id=item.queue_item_id, queue_status=item.queue_status
        )

    async def Ingest(self, request: pb.IngestRequest, context: Context) -> pb.IngestResponse:
        """Take it in once."""
        await self._admit(context, "submit")
        await self._check(request.account_id, context)
        key = (request.account_id, request.content_id)
        if key in self.items:
            answer = pb.IngestResponse()
            answer.CopyFrom(self.items[key])
            answer.duplicate = True
            return answer
        self.ingested.append(request)
        self.items[key] = pb.IngestResponse(
            queue_item_id=str(uuid.uuid4()),
            content_id=request.content_id,
            account_id=request.account_id,
            queue_status="SCHEDULED" if request.HasField("scheduling_hint") else "QUEUED",
            process_id=str(uuid.uuid4()),
        )
        return self.items[key]

    async def CancelContent(
        self, request: pb.CancelContentRequest, context: Context
    ) -> pb.CancelContentResponse:
        """End what waits."""
        await self._admit(context, "cancel")
        item = self.items.get((request.account_id, request.content_id))
        if item is None:
            code = grpc.StatusCode.NOT_FOUND
            await refuse(context, code, "unknown_content", "there is no such content")
        before = item.queue_status
        if before not in {"QUEUED", "SCHEDULED", "RETRYABLE"}:
            code = grpc.StatusCode.FAILED_PRECONDITION
            await refuse(context, code, f"state_conflict:{before}", "it does not wait")
        item.queue_status = "CANCELLED"
        return pb.CancelContentResponse(queue_item_id=item.queue_item_id, previous_status=before)

    async def UpsertSnapshot(
        self, request: pb.UpsertSnapshotRequest, context: Context
    ) -> pb.UpsertSnapshotResponse:
        """Keep the newer."""
        await self._admit(context, "submit")
        await self._check(request.account_id, context)
        stored = self.snapshots.get(request.account_id)
        if stored is not None:
            ours = (stored.strategy_version, stored.strategy_synced_at.ToMicroseconds())
            theirs = (request.strategy_version, request.strategy_synced_at.ToMicroseconds())
            if ours > theirs:
                return pb.UpsertSnapshotResponse(upserted=False)
        self.snapshots[request.account_id] = request
        return pb.UpsertSnapshotResponse(upserted=True)

    async def _check(self, account_id: str, context: Context) -> None:
        code = grpc.StatusCode.NOT_FOUND
        if account_id == "acc-off":
            await refuse(context, code, f"inactive_account:{account_id}", "it is not active")
        if account_id != "acc-1":
            await refuse(context, code, f"unknown_account:{account_id}", "no such account")
