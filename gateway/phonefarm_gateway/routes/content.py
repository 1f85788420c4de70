"""Endpoints of the legacy ingest of videos and of the accounts' snapshots."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm_common.address_policy import check_url

from phonefarm_gateway.rest.app_keys import ASSETS, POLICY, PROCESS_ID
from phonefarm_gateway.rest.endpoint import Call, Endpoint, Link, ResponseSpec, reply
from phonefarm_gateway.schemas import examples, requests
from phonefarm_gateway.schemas.acknowledgements import (
    ContentCancelled,
    Ingested,
    SnapshotIgnored,
    SnapshotUpserted,
)
from phonefarm_gateway.schemas.queries import NoQuery

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
            "The key `(account_id, content_id)` makes it safe to repeat. Order of checks: key, "
            "shape, account, duplicate, then the assets, all at once, 5 s each, with HEAD (405, "
            "501, 403: GET of the first byte); redirects are not followed."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Ingest,
        example=examples.INGEST,
        answers={
            HTTPStatus.ACCEPTED: ResponseSpec(
                about="It is in the queue; `queue_status` is QUEUED or SCHEDULED.",
                models=(Ingested,),
                links=_TO_ITEM,
            ),
            HTTPStatus.OK: ResponseSpec(
                about="It was ingested before; `queue_status` is that of now.", models=(Ingested,)
            ),
        },
        problems={
            HTTPStatus.NOT_FOUND: _ACCOUNT,
            HTTPStatus.UNPROCESSABLE_ENTITY: (
                "`invalid_request`, `asset_missing:<field>` (4xx), `asset_unreachable:<field>` "
                "(5xx, redirect, no answer), `asset_url_not_allowed`, `callback_url_not_allowed`"
            ),
        },
        handler=ingest,
    ),
    Endpoint(
        method="POST",
        path="/cancel",
        name="cancelContent",
        tag="Content",
        summary="Take back a video that does not run yet",
        scope="cancel",
        query=NoQuery,
        body=requests.CancelContent,
        answers={HTTPStatus.OK: ResponseSpec(about="It is cancelled.", models=(ContentCancelled,))},
        problems={
            HTTPStatus.NOT_FOUND: "`unknown_content`",
            HTTPStatus.CONFLICT: "`state_conflict:<STATE>`: it is claimed, runs, or has ended",
        },
        handler=cancel_content,
    ),
    Endpoint(
        method="POST",
        path="/runtime-snapshots/upsert",
        name="upsertSnapshot",
        tag="Content",
        summary="Keep what is known of an account's persona",
        about=(
            "The snapshot that is current when a run is claimed goes with the run, as data. One is "
            "stale when the stored `strategy_version` is greater, or equal with a newer "
            "`strategy_synced_at`."
        ),
        scope="submit",
        query=NoQuery,
        body=requests.Snapshot,
        example=examples.SNAPSHOT,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="It is the account's latest, or a newer one was there.",
                models=(SnapshotUpserted, SnapshotIgnored),
            )
        },
        problems={HTTPStatus.NOT_FOUND: _ACCOUNT},
        handler=upsert_snapshot,
    ),
)
