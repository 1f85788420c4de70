"""Hands videos over to the farm, and what is known of accounts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from phonefarm.client.transport import Transport, given, understood
from phonefarm.schemas import acknowledgements, requests
from pydantic import TypeAdapter

Upserted: TypeAlias = acknowledgements.SnapshotUpserted | acknowledgements.SnapshotIgnored
_UPSERTED: Final[TypeAdapter[Upserted]] = TypeAdapter(Upserted)


class AsyncContent:
    """Videos to post, and personas of accounts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def ingest(
        self,
        content_id: str,
        *,
        account_id: str,
        video_path: str,
        caption: str,
        hashtags: Sequence[str] = (),
        sound_id: str | None = None,
        cover_image_path: str | None = None,
        callback_url: str | None = None,
        scheduling_hint: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> acknowledgements.Ingested:
        """Queue one video for one account (scope submit); safe to call again.

        *video_path* and *cover_image_path* are URLs that the farm reads. The run does not begin
        before *scheduling_hint*. InvalidRequestError if a URL cannot be read.
        """
        body = requests.Ingest(
            content_id=content_id,
            account_id=account_id,
            video_path=video_path,
            caption=caption,
            **given(
                hashtags=list(hashtags) or None,
                sound_id=sound_id,
                cover_image_path=cover_image_path,
                callback_url=callback_url,
                scheduling_hint=scheduling_hint,
                metadata=None if metadata is None else dict(metadata),
            ),
        )
        return await self._transport.send("POST", "/ingest", acknowledgements.Ingested, body=body)

    async def cancel(
        self, content_id: str, *, account_id: str, reason: str
    ) -> acknowledgements.ContentCancelled:
        """Cancel a video that no run has begun to post (scope cancel); ConflictError otherwise."""
        body = requests.CancelContent(content_id=content_id, account_id=account_id, reason=reason)
        return await self._transport.send(
            "POST", "/cancel", acknowledgements.ContentCancelled, body=body
        )

    async def upsert_snapshot(self, snapshot: requests.Snapshot) -> Upserted:
        """Store what is known of an account's persona (scope submit).

        Return SnapshotIgnored if a newer one is stored already.
        """
        raw = await self._transport.read("POST", "/runtime-snapshots/upsert", body=snapshot)
        return understood(_UPSERTED, raw)
