"""Endpoints of alerts: the events that the farm has sent, a test, sending one again."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import operation
from phonefarm.schemas.farm_requests import ReplayAlertEvent
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

_CONFLICT: Final = {
    HTTPStatus.CONFLICT: (
        "`state_conflict:no_alert_url`: the farm sends no alerts, or `state_conflict:unsettled`: "
        "an event is still being sent"
    )
}


async def list_alert_events(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the newest events."""
    return reply(await call.controller.operator.alert_events(call.key))


async def send_test_alert(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Send an event that reports no change."""
    event = await call.controller.operator.send_test_alert(call.key)
    return reply(event, status=HTTPStatus.ACCEPTED)


async def replay_alert_event(call: Call[NoQuery, ReplayAlertEvent]) -> web.StreamResponse:
    """Make a settled event due again."""
    operator = call.controller.operator
    return reply(await operator.replay_alert_event(call.key, call.body.sequence))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/alerts",
        name="listAlertEvents",
        tag="Farm",
        summary="List the events that report alerts to the alert URL, newest first",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The last 100 events.", models=(operation.AlertEventList,)
            )
        },
        handler=list_alert_events,
    ),
    Endpoint(
        method="POST",
        path="/alerts/test",
        name="sendTestAlert",
        tag="Farm",
        summary="Send an event that reports no change, to test the connection",
        scope="operate",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.ACCEPTED: ResponseSpec(
                about="The event that the farm will send.", models=(operation.AlertEvent,)
            )
        },
        problems=_CONFLICT,
        handler=send_test_alert,
    ),
    Endpoint(
        method="POST",
        path="/alerts/replay",
        name="replayAlertEvent",
        tag="Farm",
        summary="Send an event again",
        about="The event keeps its sequence and id. The farm tries for another 24 hours.",
        scope="operate",
        query=NoQuery,
        body=ReplayAlertEvent,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The event that the farm will send again.", models=(operation.AlertEvent,)
            )
        },
        problems=_CONFLICT,
        handler=replay_alert_event,
    ),
)
