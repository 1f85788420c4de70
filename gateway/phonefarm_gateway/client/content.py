"""ContentService: the legacy ingest of videos, and the accounts' snapshots."""

from dataclasses import dataclass

import grpc.aio
from phonefarm.schemas import requests
from phonefarm.schemas.acknowledgements import (
    ContentCancelled,
    Ingested,
    SnapshotIgnored,
    SnapshotUpserted,
)
from phonefarm.v1 import content_pb2 as pb
from phonefarm.v1 import content_pb2_grpc

from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import timestamp
from phonefarm_gateway.strict_json import dump


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """The answer to an ingest, and its process."""

    answer: Ingested
    process_id: str


class ContentClient:
    """Ingests videos, cancels them, stores accounts' snapshots."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = content_pb2_grpc.ContentServiceStub(channel)
        self._rpc = rpc

    async def find(self, key: str | None, body: requests.Ingest) -> Ingested | None:
        """Return the duplicate of *body*, None when it is new; RefusedError for its account."""
        request = pb.FindContentRequest(content_id=body.content_id, account_id=body.account_id)
        found = await self._rpc.call(self._stub.FindContent, request, key=key)
        if not found.queue_item_id:
            return None
        return Ingested(
            status="duplicate",
            queue_item_id=found.queue_item_id,
            content_id=body.content_id,
            account_id=body.account_id,
            queue_status=found.queue_status,
        )

    async def ingest(self, key: str | None, body: requests.Ingest) -> IngestResult:
        """Queue one video; it is committed when this returns."""
        request = pb.IngestRequest(
            content_id=body.content_id,
            account_id=body.account_id,
            video_url=body.video_path,
            caption=body.caption,
            hashtags=body.hashtags,
            sound_id=body.sound_id or "",
            cover_image_url=body.cover_image_path or "",
            callback_url=body.callback_url or "",
            scheduling_hint=timestamp(body.scheduling_hint),
            metadata_json=dump(body.metadata),
        )
        taken = await self._rpc.call(self._stub.Ingest, request, key=key)
        answer = Ingested(
            status="duplicate" if taken.duplicate else "accepted",
            queue_item_id=taken.queue_item_id,
            content_id=taken.content_id,
            account_id=taken.account_id,
            queue_status=taken.queue_status,
        )
        return IngestResult(answer=answer, process_id=taken.process_id)

    async def cancel(self, key: str | None, body: requests.CancelContent) -> ContentCancelled:
        """Cancel a video that no run has claimed."""
        request = pb.CancelContentRequest(
            content_id=body.content_id, account_id=body.account_id, reason=body.reason
        )
        answer = await self._rpc.call(self._stub.CancelContent, request, key=key)
        return ContentCancelled(
            status="cancelled",
            queue_item_id=answer.queue_item_id,
            previous_status=answer.previous_status,
        )

    async def upsert_snapshot(
        self, key: str | None, body: requests.Snapshot
    ) -> SnapshotUpserted | SnapshotIgnored:
        """Store the snapshot unless a newer one is stored."""
        request = pb.UpsertSnapshotRequest(
            account_id=body.account_id,
            ugc_account_id=body.ugc_account_id,
            snapshot_id=body.snapshot_id,
            strategy_version=body.strategy_version,
            content_hash=body.content_hash,
            strategy_synced_at=timestamp(body.strategy_synced_at),
            personality_json=dump(body.personality),
            stage=body.stage,
            active_action=body.active_action,
            active_skills_json=dump(body.active_skills),
        )
        answer = await self._rpc.call(self._stub.UpsertSnapshot, request, key=key)
        if not answer.upserted:
            return SnapshotIgnored(
                status="ignored_stale",
                account_id=body.account_id,
                snapshot_id=body.snapshot_id,
                strategy_version=body.strategy_version,
            )
        return SnapshotUpserted(
            status="upserted",
            account_id=body.account_id,
            snapshot_id=body.snapshot_id,
            strategy_version=body.strategy_version,
            strategy_synced_at=body.strategy_synced_at,
        )
