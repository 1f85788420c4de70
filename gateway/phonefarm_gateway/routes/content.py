"""Endpoints of the legacy ingest of videos and of the accounts' snapshots."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import examples, requests
from phonefarm.schemas.acknowledgements import (
    ContentCancelled,
    Ingested,
    SnapshotIgnored,
    SnapshotUpserted,
)
from phonefarm.schemas.queries import NoQuery
from phonefarm_common.address_policy import check_url

from phonefarm_gateway.rest.app_keys import ASSETS, POLICY, PROCESS_ID
from phonefarm_gateway.rest.endpoint import Call, Endpoint, Link, ResponseSpec, reply

_ACCOUNT: Final = "`unknown_account:<id>`, `inactive_account:<id>`"
_TO_ITEM: Final = (
    Link(
        operation_id="getQueueItem",
        parameters={"queue_item_id": "$response.body#/queue_item_id"},
    ),
    Link(
        operation_id="cancelContent",
        parameters={},
        body={
            "content_id": "$response.body#/content_id",
            "account_id": "$response.body#/account_id",
            "reason": "followed a link",
        },
    ),
)


async def ingest(call: Call[NoQuery, requests.Ingest]) -> web.StreamResponse:
    """Queue one video; a repeat succeeds even after its assets are gone."""
    body = call.body
    assets = {"video_path": body.video_path}
    if body.cover_image_path is not None:
        assets["cover_image_path"] = body.cover_image_path
    call.request.app[ASSETS].check_addresses(assets)
    if body.callback_url is not None:
        check_url(body.callback_url, call.request.app[POLICY], field="callback_url")
    if (duplicate := await call.controller.content.find(call.key, body)) is not None:
        return reply(duplicate)
    await call.request.app[ASSETS].check(assets)
    taken = await call.controller.content.ingest(call.key, body)
    call.request[PROCESS_ID] = taken.process_id
    is_new = taken.answer.status == "accepted"
    return reply(taken.answer, status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


async def cancel_content(call: Call[NoQuery, requests.CancelContent]) -> web.StreamResponse:
    """Cancel a video that no run has claimed."""
    return reply(await call.controller.content.cancel(call.key, call.body))


async def upsert_snapshot(call: Call[NoQuery, requests.Snapshot]) -> web.StreamResponse:
    """Store the snapshot unless a newer one is stored."""
    return reply(await call.controller.content.upsert_snapshot(call.key, call.body))


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/ingest",
        name="ingest",
        tag="Content",
        summary="Post one video for one account",
        about=(
            "You can safely repeat the request: `(account_id, content_id)` identifies it. The "
            "gateway first checks the API key, the body, the account, and whether the request is "
            "a duplicate. Then it checks all assets at the same time, with HEAD requests that "
            "take at most 5 s each. If a server responds with 405, 501 or 403, the gateway "
            "requests the first byte with GET. The gateway does not follow redirects."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Ingest,
        example=examples.INGEST,
        answers={
            HTTPStatus.ACCEPTED: ResponseSpec(
                about="The video is in the queue. `queue_status` is QUEUED or SCHEDULED.",
                models=(Ingested,),
                links=_TO_ITEM,
            ),
            HTTPStatus.OK: ResponseSpec(
                about=(
                    "The farm has already ingested the video. `queue_status` is the video's "
                    "current state."
                ),
                models=(Ingested,),
            ),
        },
        problems={
            HTTPStatus.NOT_FOUND: _ACCOUNT,
            HTTPStatus.UNPROCESSABLE_ENTITY: (
                "`invalid_request`, `asset_missing:<field>` (4xx), `asset_unreachable:<field>` "
                "(5xx, redirect, no response), `asset_url_not_allowed`, `callback_url_not_allowed`"
            ),
        },
        handler=ingest,
    ),
    Endpoint(
        method="POST",
        path="/cancel",
        name="cancelContent",
        tag="Content",
        summary="Cancel a video that is still waiting",
        scope="cancel",
        query=NoQuery,
        body=requests.CancelContent,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The farm has cancelled the video.", models=(ContentCancelled,)
            )
        },
        problems={
            HTTPStatus.NOT_FOUND: "`unknown_content`",
            HTTPStatus.CONFLICT: (
                "`state_conflict:<STATE>`: a run already has the video, or the work for it has "
                "ended"
            ),
        },
        handler=cancel_content,
    ),
    Endpoint(
        method="POST",
        path="/runtime-snapshots/upsert",
        name="upsertSnapshot",
        tag="Content",
        summary="Store the persona of an account",
        about=(
            "Each run gets, as data, the snapshot that the farm has stored when the run is "
            "claimed. The farm ignores a stale snapshot. A snapshot is stale if the stored "
            "snapshot has a greater `strategy_version`, or the same `strategy_version` and a "
            "newer `strategy_synced_at`."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Snapshot,
        example=examples.SNAPSHOT,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The farm has stored the snapshot, or already had a newer snapshot.",
                models=(SnapshotUpserted, SnapshotIgnored),
            )
        },
        problems={HTTPStatus.NOT_FOUND: _ACCOUNT},
        handler=upsert_snapshot,
    ),
)
