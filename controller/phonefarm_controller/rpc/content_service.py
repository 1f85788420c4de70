"""ContentService: read the wire, call one operation, write the wire."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from phonefarm.v1 import content_pb2 as pb
from phonefarm.v1 import content_pb2_grpc
from phonefarm_common.reasons import FieldProblem
from phonefarm_common.trace_context import current_traceparent

from phonefarm_controller.capabilities.fields import is_http
from phonefarm_controller.model.errors import invalid
from phonefarm_controller.processes.content import ContentIngest, IngestRequest
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.wire import (
    LONGEST_ID,
    LONGEST_JSON,
    LONGEST_TEXT,
    array_of,
    moment_of,
    object_of,
)
from phonefarm_controller.store.account_snapshots import Snapshot

MOST_VERSION: Final = 2**63 - 1
LONGEST_SNAPSHOT: Final = 64 * 1024
"""The most characters of JSON in a snapshot, because every run of the account gets it."""


class ContentService(content_pb2_grpc.ContentServiceServicer):
    """Serves callers and gateways."""

    def __init__(
        self,
        *,
        content: ContentIngest,
        upsert_snapshot: Callable[[Snapshot], Awaitable[bool]],
    ) -> None:
        self._content = content
        self._upsert_snapshot = upsert_snapshot

    async def FindContent(  # noqa: N802 - the wire's name
        self, request: pb.FindContentRequest, context: Context
    ) -> pb.FindContentResponse:
        """Tell whether the content was taken in before."""
        problems = _ids(request)
        if problems:
            raise invalid(*problems)
        found = await self._content.find(request.account_id, request.content_id)
        if found is None:
            return pb.FindContentResponse()
        return pb.FindContentResponse(queue_item_id=found.item_id, queue_status=found.state)

    async def Ingest(  # noqa: N802
        self, request: pb.IngestRequest, context: Context
    ) -> pb.IngestResponse:
        """Take in a video."""
        taken = await self._content.ingest(_ingest_request(request, caller=caller().name))
        return pb.IngestResponse(
            queue_item_id=taken.item_id,
            content_id=request.content_id,
            account_id=request.account_id,
            queue_status=taken.state,
            duplicate=taken.duplicate,
            process_id=taken.process_id,
        )

    async def CancelContent(  # noqa: N802
        self, request: pb.CancelContentRequest, context: Context
    ) -> pb.CancelContentResponse:
        """End an item that waits."""
        problems = [*_ids(request), *_text("reason", request.reason, LONGEST_TEXT)]
        if problems:
            raise invalid(*problems)
        cancelled = await self._content.cancel(
            request.account_id,
            request.content_id,
            reason=request.reason,
            requested_by=caller().name,
        )
        return pb.CancelContentResponse(
            queue_item_id=cancelled.item_id, previous_status=cancelled.previous
        )

    async def UpsertSnapshot(  # noqa: N802
        self, request: pb.UpsertSnapshotRequest, context: Context
    ) -> pb.UpsertSnapshotResponse:
        """Keep the newer of what is stored and what comes."""
        upserted = await self._upsert_snapshot(_snapshot(request))
        return pb.UpsertSnapshotResponse(upserted=upserted)


def _ingest_request(request: pb.IngestRequest, *, caller: str) -> IngestRequest:
    """Return the request; FarmError names every wrong field that is not an input of post_video."""
    problems = _ids(request)
    if request.callback_url:
        problems += _text("callback_url", request.callback_url, LONGEST_TEXT)
        if not is_http(request.callback_url):
            problems.append(FieldProblem(field="callback_url", message="must be http or https"))
    problems += _json("metadata", request.metadata_json or "{}")
    for field, text in (
        ("video_url", request.video_url),
        ("caption", request.caption),
        ("sound_id", request.sound_id),
        ("cover_image_url", request.cover_image_url),
        *((f"hashtags[{n}]", tag) for n, tag in enumerate(request.hashtags)),
    ):
        if "\0" in text:
            problems.append(FieldProblem(field=field, message="must not contain NUL characters"))
    if problems:
        raise invalid(*problems)
    inputs: dict[str, Any] = {
        "video_url": request.video_url or None,
        "caption": request.caption or None,
        "hashtags": list(request.hashtags),
        "sound_id": request.sound_id or None,
        "cover_image_url": request.cover_image_url or None,
    }
    return IngestRequest(
        content_id=request.content_id,
        account_id=request.account_id,
        inputs=inputs,
        callback_url=request.callback_url or None,
        not_before=moment_of("scheduling_hint", request.scheduling_hint)
        if request.HasField("scheduling_hint")
        else None,
        metadata=request.metadata_json or "{}",
        digest=hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest(),
        caller=caller,
        traceparent=current_traceparent(),
    )


def _snapshot(request: pb.UpsertSnapshotRequest) -> Snapshot:
    problems = _text("account_id", request.account_id)
    for field in ("ugc_account_id", "snapshot_id", "content_hash"):
        problems += _text(field, getattr(request, field))
    for field, text in (("stage", request.stage), ("active_action", request.active_action)):
        if len(text) > LONGEST_TEXT or "\0" in text:
            message = f"must have at most {LONGEST_TEXT} characters, without NUL"
            problems.append(FieldProblem(field=field, message=message))
    if not 0 < request.strategy_version <= MOST_VERSION:
        message = "must be a whole number above 0"
        problems.append(FieldProblem(field="strategy_version", message=message))
    if not request.HasField("strategy_synced_at"):
        problems.append(FieldProblem(field="strategy_synced_at", message="is required"))
    problems += _json("personality", request.personality_json, LONGEST_SNAPSHOT)
    skills = request.active_skills_json or "[]"
    if len(skills) > LONGEST_SNAPSHOT or array_of(skills) is None or "\\u0000" in skills:
        message = f"must be a JSON array of at most {LONGEST_SNAPSHOT} characters, without NUL"
        problems.append(FieldProblem(field="active_skills", message=message))
    if problems:
        raise invalid(*problems)
    synced_at = moment_of("strategy_synced_at", request.strategy_synced_at)
    known = {
        "account_id": request.account_id,
        "ugc_account_id": request.ugc_account_id,
        "snapshot_id": request.snapshot_id,
        "strategy_version": request.strategy_version,
        "content_hash": request.content_hash,
        "strategy_synced_at": synced_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "stage": request.stage if request.HasField("stage") else None,
        "active_action": request.active_action if request.HasField("active_action") else None,
    }
    # The caller's own objects travel as the text they came in.
    body = (
        f'{json.dumps(known)[:-1]}, "personality": {request.personality_json}, '
        f'"active_skills": {skills}}}'
    )
    return Snapshot(
        account_id=request.account_id,
        snapshot_id=request.snapshot_id,
        strategy_version=request.strategy_version,
        strategy_synced_at=synced_at,
        body=body,
    )


def _ids(
    request: pb.FindContentRequest | pb.IngestRequest | pb.CancelContentRequest,
) -> list[FieldProblem]:
    return [*_text("content_id", request.content_id), *_text("account_id", request.account_id)]


def _text(field: str, value: str, longest: int = LONGEST_ID) -> list[FieldProblem]:
    if not value.strip():
        return [FieldProblem(field=field, message="is required")]
    if len(value) > longest or "\0" in value:
        message = f"must have at most {longest} characters, without NUL"
        return [FieldProblem(field=field, message=message)]
    return []


def _json(field: str, text: str, longest: int = LONGEST_JSON) -> list[FieldProblem]:
    if len(text) > longest or object_of(text) is None:
        message = f"must be a JSON object of at most {longest} characters"
        return [FieldProblem(field=field, message=message)]
    if "\\u0000" in text:  # PostgreSQL's text cannot hold it
        return [FieldProblem(field=field, message="must not contain NUL characters")]
    return []
