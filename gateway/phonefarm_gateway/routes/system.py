"""Endpoints of the gateway itself: health, metrics, OpenAPI."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import responses
from phonefarm.schemas.queries import NoQuery
from phonefarm_common.reasons import Reason

from phonefarm_gateway import metrics
from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.app_keys import CONTROLLER, DOCS, METRICS, METRICS_OPEN, OPENAPI
from phonefarm_gateway.rest.credentials import caller_key
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.rest.problems import RETRY_AFTER_SECONDS, Problem

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


_TWO_SECRETS: Final = (
    "The controller refuses this gateway's PHONEFARM_GATEWAY_TOKEN. Start both programs with the "
    "same token."
)
_OLD_CERTIFICATE: Final = (
    "The controller refuses this gateway's certificate: it was revoked or has expired. Join "
    "again: `phonefarm gateways invite --gateway-id ID` at the controller, then "
    "`phonefarm-gateway join TOKEN --state DIR` on this host."
)


async def healthz(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Answer: this process runs."""
    return reply(responses.Alive(status="ok"))


async def readyz(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Answer 200 when the controller answers and knows this gateway."""
    try:
        await call.request.app[CONTROLLER].deliveries.report([])
    except RefusedError as refused:
        error, detail = str(Reason.CONTROLLER_UNAVAILABLE), "The controller does not answer."
        if refused.reason not in {Reason.CONTROLLER_UNAVAILABLE, Reason.INTERNAL}:
            error = str(Reason.GATEWAY_TOKEN_REFUSED)
            detail = (
                _OLD_CERTIFICATE if refused.reason == Reason.CERTIFICATE_REFUSED else _TWO_SECRETS
            )
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, error, detail, headers=headers) from refused
    return reply(responses.Ready(status="ready"))


async def show_metrics(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the metrics."""
    app = call.request.app
    if not app[METRICS_OPEN]:
        await app[CONTROLLER].processes.check_key(caller_key(call.request), scope="read")
    page = app[METRICS].exposition()
    return web.Response(body=page, headers={"Content-Type": metrics.CONTENT_TYPE})


async def show_openapi(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the OpenAPI document."""
    return web.Response(body=call.request.app[OPENAPI], content_type="application/json")


async def show_docs(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the OpenAPI document as a page."""
    return web.Response(
        body=call.request.app[DOCS],
        headers=_PAGE_HEADERS,
        content_type="text/html",
        charset="utf-8",
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/healthz",
        name="healthz",
        tag="Service",
        summary="Check that the gateway runs",
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="The gateway runs.", models=(responses.Alive,))},
        handler=healthz,
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        name="readyz",
        tag="Service",
        summary="Check that the gateway can reach the controller",
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The controller answers and accepts this gateway.", models=(responses.Ready,)
            )
        },
        problems={
            HTTPStatus.SERVICE_UNAVAILABLE: (
                "`controller_unavailable`, or `gateway_token_refused`: the controller "
                "has a different PHONEFARM_GATEWAY_TOKEN"
            )
        },
        handler=readyz,
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        name="metrics",
        tag="Service",
        summary="Read the metrics in the format of Prometheus",
        about="Send a key with the scope `read`, unless the gateway runs with --open-metrics.",
        scope="read",
        checks_key=False,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The metrics in the text format of Prometheus.", media_types=("text/plain",)
            )
        },
        handler=show_metrics,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        name="openapi",
        tag="Service",
        summary="Read this description",
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="OpenAPI 3.1.")},
        handler=show_openapi,
    ),
    Endpoint(
        method="GET",
        path="/docs",
        name="docs",
        tag="Service",
        summary="Read this description as an HTML page",
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="A page.", media_types=("text/html",))},
        handler=show_docs,
    ),
)
