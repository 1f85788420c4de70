"""Endpoints of callbacks: deliveries of a process, failing receivers, sending again."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import requests, responses
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply


async def list_deliveries(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the deliveries of a process with their attempts."""
    return reply(await call.controller.inspection.deliveries(call.key, call.process_id))


async def list_failing_receivers(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the receivers that do not take their callbacks."""
    return reply(await call.controller.inspection.failing_receivers(call.key))


async def replay(call: Call[NoQuery, requests.Replay]) -> web.StreamResponse:
    """Make deliveries due again."""
    wanted = call.body.sequences or []
    return reply(await call.controller.inspection.replay(call.key, call.process_id, wanted))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/processes/{process_id}/deliveries",
        name="listDeliveries",
        tag="Callbacks",
        summary="List a process's callbacks and the attempts to send them",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The callbacks, oldest first.", models=(responses.DeliveryList,)
            )
        },
        handler=list_deliveries,
    ),
    Endpoint(
        method="GET",
        path="/failing-receivers",
        name="listFailingReceivers",
        tag="Callbacks",
        summary="List the receivers that do not accept their callbacks",
        about=(
            "The list contains each receiver for which the last attempt failed and the farm will "
            "try again."
        ),
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The receivers; the one that has failed longest comes first.",
                models=(responses.FailingReceiverList,),
            )
        },
        handler=list_failing_receivers,
    ),
    Endpoint(
        method="POST",
        path="/processes/{process_id}/deliveries/replay",
        name="replayDeliveries",
        tag="Callbacks",
        summary="Send callbacks again",
        about=(
            "The callbacks keep their sequence, id and order. The farm tries to send them for "
            "another 24 hours. Without `sequences`, or without a body, the farm sends all "
            "callbacks that were not delivered."
        ),
        scope="operate",
        query=NoQuery,
        body=requests.Replay,
        body_optional=True,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The callbacks that the farm will send again.", models=(responses.Replayed,)
            )
        },
        problems={
            HTTPStatus.CONFLICT: (
                "`state_conflict`: there is no callback to send again, or the callback "
                "is still being sent"
            )
        },
        handler=replay,
    ),
)
